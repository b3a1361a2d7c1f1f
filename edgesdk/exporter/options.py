"""The options of an export, as one value that has been checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgesdk.converters.isolation import Limits
from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.exporter.quantization.options import QuantizeOptions
from edgesdk.host.cache import Cache
from edgesdk.spec import ImageSpec, TensorSpec, parse_input
from edgesdk.verification.parity import Tolerances

__all__ = ["ExportOptions", "Progress", "with_changes"]

#: Called with a target (or ``model`` before there are any) and the step it is at.
Progress = Callable[[str, str], None]

_LONGEST_NAME = 200


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Where several of a kind are taken, one alone will do, and a text will do for a path or a spec.

    Attributes:
        name: Name of the bundle, at most 200 characters; the output's without suffix if empty.
        inputs: Input specs, where there is no example; texts as for
            :func:`edgesdk.spec.parse_input`.
        image: Preprocessing to bake in, so that an app passes camera bytes; a text as for
            :func:`edgesdk.spec.parse_image`, or ``auto`` for what the source knows itself.
        dynamic: ``[TARGET:]batch[=1..8]`` or ``[TARGET:]hw[=64..1024/32]``, one entry each.
        weights: Weights to load.
        samples: Photographs or files of arrays that parity is measured on.
        gates: Bounds in place of the default ones.
        verify: Whether to run each artefact and compare.
        reference: Whether the bundle carries the program, for bisecting and other machines.
        overwrite: Whether an existing bundle may be replaced.
        jobs: Conversions at a time; 0 for one a core, at most one a target.
        limits: What each converter may use.
        cache: Where unchanged work is served from; None for no cache.
        quantize: How to quantize, or names of recipes; None for float artefacts.

    Raises:
        UsageError: A value of the wrong kind, or out of range.
        InputSpecError: A text of ``inputs`` that cannot be read.
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

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            # True is an int to Python; as a number of jobs it is a mistake.
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                wanted = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
                raise UsageError(
                    f"the option {name} cannot be {value!r}", remedy=f"give a {wanted}"
                )
        if len(self.name) > _LONGEST_NAME:
            raise UsageError(
                f"the name has {len(self.name)} characters",
                remedy=f"give one of at most {_LONGEST_NAME}",
            )
        if self.jobs < 0:
            raise UsageError(f"there cannot be {self.jobs} jobs", remedy="0 means one a core")
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
        }
        for name, value in read.items():
            # The dataclass is frozen against its users, not against itself.
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
    "cache": (Cache, type(None)),
    "quantize": (QuantizeOptions, str, tuple, list, type(None)),
}

#: Arguments of :func:`edgesdk.export` that are no options, for a better word on a misspelt one.
_ARGUMENTS = ("example", "on_progress", "options", "output", "targets")


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)


def with_changes(options: ExportOptions | None, changes: Mapping[str, Any]) -> ExportOptions:
    """The options with some fields changed.

    Args:
        options: The options; the default ones if None.
        changes: New values by field name.

    Raises:
        UnknownNameError: No such field.
        UsageError: See :class:`ExportOptions`.
    """
    known = ExportOptions.__dataclass_fields__
    for name in changes:
        if name not in known:
            raise UnknownNameError("option", name, (*known, *_ARGUMENTS))
    if options is not None and not isinstance(options, ExportOptions):
        raise UsageError("options is no ExportOptions", remedy="pass its fields by keyword")
    return replace(options or ExportOptions(), **changes)
