"""Validated quantization options of an export."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.quant.recipes import parse_recipes
from edgesdk.quant.spec import IO_DTYPES, RANGE_METHODS, QuantSpec

__all__ = ["KEYWORDS", "QuantizeOptions", "parse_drop", "with_keywords"]

#: Fields of :class:`QuantizeOptions` by their arguments of :func:`edgesdk.export`.
KEYWORDS = {
    "calibration": "calibration",
    "data": "data",
    "evaluate": "evaluation",
    "max_drop": "max_drop",
    "accuracy_control": "accuracy_control",
    "keep_float": "float_layers",
    "io_dtype": "io_dtype",
    "ranges": "ranges",
    "calibration_samples": "calibration_samples",
    "evaluation_samples": "samples",
}

_DROP = re.compile(r"(?P<number>\d{1,3}(?:\.\d{1,6})?|\.\d{1,6})(?P<percent>\s*%)?", re.ASCII)


def parse_drop(text: str) -> float:
    """Parse ``1%``, ``0.5 %`` or ``0.01`` as a share.

    Raises:
        UsageError: The text has another form, or the share exceeds 1.
    """
    match = _DROP.fullmatch(text.strip())
    value = float(match["number"]) / (100 if match["percent"] else 1) if match else math.inf
    if value > 1:
        raise UsageError(
            f"invalid accuracy drop: {text}", remedy="give 1% or 0.01 for one percentage point"
        )
    return value


@dataclass(frozen=True)
class QuantizeOptions:
    """Options of a quantized export::

        options = QuantizeOptions("w8a8_static", calibration="photos/", max_drop=0.01)
        edgesdk.export("net.py:build", quantize=options)

    Attributes:
        recipes: Names of recipes, one artefact per target and recipe; ``fp32`` adds the float
            artefact. A string may list several, separated by commas.
        calibration: Inputs that set the ranges: a folder of photographs, a file of arrays
            (``.npz``, ``.safetensors``), a ``DataLoader`` or any iterable of inputs.
        evaluation: Unlabelled inputs for measuring the accuracy drop, in the same forms. If both
            name the same folder, it is split in two.
        data: Labelled images (see :func:`edgesdk.training.open_data`). Training images replace a
            missing ``calibration``, test images a missing ``evaluation``.
        samples: Maximum number of inputs for measuring the drop.
        calibration_samples: Number of calibration inputs; 0 adds inputs until the ranges converge.
        ranges: One of :data:`edgesdk.quant.spec.RANGE_METHODS`; empty for the recipe's default.
        float_layers: Module paths of layers to keep float.
        io_dtype: Type of the artefact's inputs and outputs, one of
            :data:`edgesdk.quant.spec.IO_DTYPES`. ``face`` is its deprecated name.
        max_drop: Largest accuracy drop allowed, as a share: 0.01 is one percentage point of top-1
            accuracy or of agreement.
        accuracy_control: True to keep layers float until ``max_drop`` holds. ``repair`` is its
            deprecated name.
        sensitivity: True to rank every layer by the error that quantizing it alone causes.
        seed: Seed for choosing samples.

    Raises:
        UnknownNameError: Unknown recipe, range method or ``io_dtype``.
        UsageError: No recipe, a bound out of range, or accuracy control without ``max_drop``.
    """

    recipes: tuple[str, ...] | str
    calibration: Any = None
    evaluation: Any = None
    data: Path | None = None
    samples: int = 512
    calibration_samples: int = 0
    ranges: str = ""
    float_layers: tuple[str, ...] = ()
    io_dtype: str = "float"
    max_drop: float | None = None
    accuracy_control: bool = False
    sensitivity: bool = False
    seed: int = 0
    _: KW_ONLY
    face: InitVar[str | None] = None
    repair: InitVar[bool | None] = None

    if TYPE_CHECKING:
        # Fields have the types after normalization; callers may give more.
        def __init__(
            self,
            recipes: Sequence[str] | str,
            calibration: Any = None,
            evaluation: Any = None,
            data: str | os.PathLike[str] | None = None,
            samples: int = 512,
            calibration_samples: int = 0,
            ranges: str = "",
            float_layers: Sequence[str] | str = (),
            io_dtype: str = "float",
            max_drop: float | None = None,
            accuracy_control: bool = False,
            sensitivity: bool = False,
            seed: int = 0,
            *,
            face: str | None = None,
            repair: bool | None = None,
        ) -> None: ...

    def __post_init__(self, face: str | None, repair: bool | None) -> None:
        for old, new, value in (
            ("face", "io_dtype", face),
            ("repair", "accuracy_control", repair),
        ):
            if value is not None:
                message = f"QuantizeOptions({old}=) is deprecated, use {new}="
                warnings.warn(message, DeprecationWarning, stacklevel=3)
                object.__setattr__(self, new, value)
        texts = (self.recipes,) if isinstance(self.recipes, str) else tuple(self.recipes)
        specs = parse_recipes(texts)
        if not specs:
            raise UsageError("no recipe given", remedy="--quantize w8a8_static")
        if self.ranges and self.ranges not in RANGE_METHODS:
            raise UnknownNameError("range method", self.ranges, RANGE_METHODS)
        if self.io_dtype not in IO_DTYPES:
            raise UnknownNameError("io dtype", self.io_dtype, IO_DTYPES)
        if self.max_drop is not None and not (
            math.isfinite(self.max_drop) and 0 <= self.max_drop <= 1
        ):
            raise UsageError(
                f"invalid max_drop: {self.max_drop}",
                remedy="give 0.01 or 1% for one percentage point",
            )
        if self.accuracy_control and self.max_drop is None:
            raise UsageError(
                "accuracy control needs a bound on the accuracy drop",
                remedy="give --max-drop 1% with --accuracy-control",
            )
        if self.samples < 1 or self.calibration_samples < 0:
            raise UsageError(
                "the number of samples for measuring the drop must be at least 1",
                remedy="give a number above zero",
            )
        layers = self.float_layers
        normalized = {
            "recipes": texts,
            "float_layers": (layers,) if isinstance(layers, str) else tuple(layers),
            "data": None if self.data is None else Path(self.data),
        }
        for name, converted in normalized.items():
            object.__setattr__(self, name, converted)

    @property
    def specs(self) -> list[QuantSpec | None]:
        """Quantization specs, one per recipe; None for the float artefact."""
        return [None if spec is None else self._apply(spec) for spec in parse_recipes(self.recipes)]

    def specs_for(self, variant: str) -> list[QuantSpec | None]:
        """Quantization specs for one variant of a target.

        A variant that computes in half precision is what the recipe of its name would make, so
        it is the unquantized artefact.

        Args:
            variant: Variant of the target, such as ``fp16``.
        """
        found: list[QuantSpec | None] = []
        for spec in self.specs:
            made = None if spec is not None and spec.name == variant else spec
            if made not in found:
                found.append(made)
        return found

    def _apply(self, spec: QuantSpec) -> QuantSpec:
        return dataclasses.replace(
            spec,
            ranges=self.ranges or spec.ranges,
            float_layers=self.float_layers,
            # Recipes without fixed ranges always have float inputs and outputs.
            io_dtype=self.io_dtype if spec.static else "float",
        )

    @property
    def static(self) -> bool:
        """True if any recipe needs calibration."""
        return any(spec is not None and spec.static for spec in self.specs)

    @property
    def measured(self) -> bool:
        """True if there are inputs for measuring the accuracy drop."""
        return self.evaluation is not None or self.data is not None


def with_keywords(options: QuantizeOptions | None, given: Mapping[str, Any]) -> QuantizeOptions:
    """Return the options with arguments of :func:`edgesdk.export` in place of its own.

    Args:
        options: The options; None if no recipe was given.
        given: Values by the names in :data:`KEYWORDS`.

    Raises:
        UsageError: No recipe was given; or see :class:`QuantizeOptions`.
    """
    if options is None:
        names = ", ".join(given)
        raise UsageError(
            f"{names} need{'s' * (len(given) == 1)} a recipe", remedy="add --quantize w8a8_static"
        )
    changes = {KEYWORDS[name]: value for name, value in given.items()}
    if isinstance(changes.get("max_drop"), str):
        changes["max_drop"] = parse_drop(changes["max_drop"])
    # An iterator gives its inputs once: the fields are handed on as they are.
    return dataclasses.replace(options, **changes)
