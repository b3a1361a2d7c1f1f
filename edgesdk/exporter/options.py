"""Validated options of an export."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from edgesdk.converters.isolation import Limits
from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.exporter.quantization.options import QuantizeOptions, with_keywords
from edgesdk.host.cache import Cache
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec, parse_dynamic, parse_input
from edgesdk.verification.parity import Tolerances

__all__ = [
    "UNSET",
    "ExportOptions",
    "Progress",
    "default_name",
    "dynamic_by_target",
    "known_arguments",
    "with_changes",
    "with_keyword_arguments",
]

#: Called with a target, or ``model`` before conversions begin, and its current step.
Progress = Callable[[str, str], None]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_MAX_NAME = 200


class _Unset:
    """Kind of :data:`UNSET`."""

    def __repr__(self) -> str:
        return "<default>"


#: Default of an argument that leaves the value of ``options`` as it is.
UNSET: Any = _Unset()


@dataclass(frozen=True)
class ExportOptions:
    """Options of :func:`edgesdk.export`::

        options = ExportOptions(dynamic="batch", quantize=("fp32", "fp16"))
        edgesdk.export("mobilenet_v2", options=options)

    A single value may replace a tuple of one, and a string a path or a spec.

    Attributes:
        name: Name of the bundle, at most 200 characters; by default the output's without suffix.
        inputs: Input specs in place of an example; strings are parsed by
            :func:`edgesdk.spec.parse_input`.
        image: Preprocessing to bake in, so that an app passes camera bytes; a string is parsed by
            :func:`edgesdk.spec.parse_image`, and ``auto`` means the source's own.
        dynamic: Entries ``[TARGET:]batch[=1..8]`` or ``[TARGET:]hw[=64..1024/32]``.
        weights: Weights to load.
        samples: Photographs or files of arrays that parity is measured on.
        gates: Bounds on parity that replace the default ones.
        verify: True to run each artefact and compare it with the model.
        reference: True to store the program in the bundle, for bisection and other machines.
        overwrite: True to replace an existing bundle.
        jobs: Number of concurrent conversions; 0 for one per core.
        limits: Resource limits of each converter.
        cache: Cache of finished work; True for the usual one, None or False to disable.
        quantize: Quantization options, or names of recipes; None for float artefacts.

    Raises:
        UsageError: A value has the wrong type or is out of range.
        InputSpecError: A string in ``inputs`` cannot be parsed.
    """

    name: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    image: ImageSpec | str | None = None
    dynamic: tuple[str, ...] = ()
    weights: Path | None = None
    samples: tuple[Path, ...] = ()
    gates: Tolerances = field(default_factory=Tolerances)
    verify: bool = True
    reference: bool = True
    overwrite: bool = False
    jobs: int = 0
    limits: Limits = field(default_factory=Limits)
    cache: Cache | None = None
    quantize: QuantizeOptions | None = None

    if TYPE_CHECKING:
        # Fields have the types after normalization; callers may give more.
        def __init__(
            self,
            name: str = "",
            inputs: Sequence[TensorSpec | str] | TensorSpec | str = (),
            image: ImageSpec | str | None = None,
            dynamic: Sequence[str] | str = (),
            weights: str | os.PathLike[str] | None = None,
            samples: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
            gates: Tolerances = ...,
            verify: bool = True,
            reference: bool = True,
            overwrite: bool = False,
            jobs: int = 0,
            limits: Limits = ...,
            cache: Cache | bool | None = None,
            quantize: QuantizeOptions | Sequence[str] | str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            # bool is a subclass of int, but not a valid number of jobs.
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                wanted = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
                raise UsageError(f"invalid option {name}: {value!r}", remedy=f"give a {wanted}")
        if len(self.name) > _MAX_NAME:
            raise UsageError(
                f"the name has {len(self.name)} characters",
                remedy=f"give one of at most {_MAX_NAME}",
            )
        if self.jobs < 0:
            raise UsageError(f"invalid number of jobs: {self.jobs}", remedy="0 means one per core")
        read = {
            "inputs": tuple(
                parse_input(entry) if isinstance(entry, str) else entry
                for entry in _several(self.inputs)
            ),
            "dynamic": tuple(_several(self.dynamic)),
            "weights": None if self.weights is None else Path(self.weights),
            "samples": tuple(Path(entry) for entry in _several(self.samples)),
            "quantize": QuantizeOptions(tuple(_several(self.quantize)))
            if isinstance(self.quantize, (str, tuple, list))
            else self.quantize,
            "cache": Cache() if self.cache is True else self.cache or None,
        }
        for name, value in read.items():
            # The dataclass is frozen for its users only.
            object.__setattr__(self, name, value)


_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "inputs": (tuple, list, str, TensorSpec),
    "image": (ImageSpec, str, type(None)),
    "dynamic": (tuple, list, str),
    "weights": (str, os.PathLike, type(None)),
    "samples": (tuple, list, str, os.PathLike),
    "gates": (Tolerances,),
    "verify": (bool,),
    "reference": (bool,),
    "overwrite": (bool,),
    "jobs": (int,),
    "limits": (Limits,),
    "cache": (Cache, bool, type(None)),
    "quantize": (QuantizeOptions, str, tuple, list, type(None)),
}

#: Bounds on parity by their arguments of :func:`edgesdk.export`.
_GATES = {
    "min_cosine": "cosine",
    "max_error": "relative_error",
    "min_agreement": "agreement",
}


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)


def known_arguments(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function suggest the nearest name for an unknown keyword argument.

    Raises:
        UnknownNameError: By the function, in place of a TypeError.
    """
    known = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        for name in kwargs:
            if name not in known:
                raise UnknownNameError("option", name, known)
        return function(*args, **kwargs)

    return run


def with_changes(options: ExportOptions | None, changes: Mapping[str, Any]) -> ExportOptions:
    """Return the options with some fields changed.

    Args:
        options: The options; None for the default ones.
        changes: New values by field name.

    Raises:
        UnknownNameError: A field does not exist.
        UsageError: See :class:`ExportOptions`.
    """
    known = ExportOptions.__dataclass_fields__
    for name in changes:
        if name not in known:
            raise UnknownNameError("option", name, known)
    if options is not None and not isinstance(options, ExportOptions):
        raise UsageError("options must be an ExportOptions", remedy="pass its fields by keyword")
    return replace(options or ExportOptions(), **changes)


def with_keyword_arguments(
    options: ExportOptions | None, given: Mapping[str, Any]
) -> ExportOptions:
    """Return the options with the keyword arguments of :func:`edgesdk.export`.

    Args:
        options: The options; None for the default ones.
        given: Arguments by name; those that are :data:`UNSET` change nothing.

    Raises:
        UsageError: See :class:`ExportOptions`; or an argument of quantization without a recipe.
    """
    known = ExportOptions.__dataclass_fields__
    named = {name: value for name, value in given.items() if value is not UNSET}
    settings = with_changes(options, {name: named.pop(name) for name in known if name in named})
    gates = {field: named.pop(name) for name, field in _GATES.items() if name in named}
    limits: dict[str, Any] = {}
    if "timeout" in named:
        limits["seconds"] = _positive("timeout", named.pop("timeout"), "seconds")
    if "memory_limit" in named:
        size = named.pop("memory_limit")
        limits["memory_bytes"] = size and int(_positive("memory_limit", size, "GiB") * 2**30)
    settings = replace(
        settings,
        gates=replace(settings.gates, **gates),
        limits=replace(settings.limits, **limits),
    )
    if not named:
        return settings
    return replace(settings, quantize=with_keywords(settings.quantize, named))


def _positive(name: str, value: Any, unit: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise UsageError(
            f"invalid option {name}: {value!r}", remedy=f"give a number of {unit} above 0"
        )
    return float(value)


def default_name(source: str) -> str:
    """Return the name of the bundle of SOURCE, without its suffix."""
    head = (source.rpartition(":")[0] or source).rstrip("/")
    return Path(head).stem if head.endswith((".py", ".pt2", ".edgemodel")) else head.split(".")[-1]


def dynamic_by_target(
    texts: Sequence[str], names: Sequence[str]
) -> dict[str, dict[str, DynamicDim]]:
    """Read free dimensions, ``[TARGET:]AXIS``.

    Args:
        texts: The dimensions.
        names: Targets of the export, without variants.

    Returns:
        Dimensions by axis, by target.

    Raises:
        UsageError: A target is not exported.
        UnknownNameError: Unknown axis.
        InputSpecError: Invalid range.
    """
    found: dict[str, dict[str, DynamicDim]] = {name: {} for name in names}
    for text in texts:
        head, separator, rest = text.partition(":")
        if separator and head not in names:
            raise UsageError(
                f"--dynamic {text} names a target that is not exported",
                remedy=f"one of {', '.join(names)}, or none for all",
            )
        for name in [head] if separator else names:
            found[name] |= parse_dynamic(rest if separator else text)
    return found
