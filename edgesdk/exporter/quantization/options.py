"""How an export quantizes, as one value that has been checked."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.quant.recipes import parse_recipes
from edgesdk.quant.spec import FACES, RANGE_METHODS, QuantSpec

__all__ = ["QuantizeOptions", "parse_drop"]

_DROP = re.compile(r"(?P<number>\d{1,3}(?:\.\d{1,6})?|\.\d{1,6})(?P<percent>\s*%)?", re.ASCII)


def parse_drop(text: str) -> float:
    """Read ``1%``, ``0.5 %`` or ``0.01`` as a share.

    Raises:
        UsageError: Another form, or more than everything.
    """
    match = _DROP.fullmatch(text.strip())
    value = float(match["number"]) / (100 if match["percent"] else 1) if match else math.inf
    if value > 1:
        raise UsageError(f"a drop of {text} is no share", remedy="give 1% or 0.01 for one point")
    return value


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize.

    Attributes:
        recipes: Names of recipes, one artefact each a target; ``fp32`` for the float one beside
            them. A text may list several by commas.
        calibration: What ranges are taken from: a folder of photographs, a file of arrays
            (``.npz``, ``.safetensors``), a ``DataLoader`` or any iterable of inputs.
        evaluation: What the drop is measured on without labels, in the same forms. Where both are
            one folder it is split in two.
        data: Labelled images (see :func:`edgesdk.training.open_data`): ranges are taken from the
            training images and the drop is measured on the test images, as far as the two above
            are not given.
        samples: Largest number of inputs the drop is measured on.
        calibration_samples: Number of inputs ranges are taken from; 0 for as many as it takes
            until the ranges stand still.
        ranges: One of :data:`edgesdk.quant.spec.RANGE_METHODS`; empty for the recipe's own.
        float_layers: Module paths of layers that stay float.
        face: One of :data:`edgesdk.quant.spec.FACES`.
        max_drop: Largest drop allowed, as a share: 0.01 is one point of top-1, or of agreement.
        repair: Whether to keep layers float until ``max_drop`` is met.
        sensitivity: Whether to rank every layer by what quantizing it alone does.
        seed: Of the choice of samples.

    Raises:
        UnknownNameError: No such recipe, range method or face.
        UsageError: No recipe, a bound out of range, or a repair without bound.
    """

    recipes: tuple[str, ...] | str
    calibration: Any = None
    evaluation: Any = None
    data: Path | None = None
    samples: int = 512
    calibration_samples: int = 0
    ranges: str = ""
    float_layers: tuple[str, ...] = ()
    face: str = "float"
    max_drop: float | None = None
    repair: bool = False
    sensitivity: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        texts = (self.recipes,) if isinstance(self.recipes, str) else tuple(self.recipes)
        specs = parse_recipes(texts)
        if not specs:
            raise UsageError("no recipe given", remedy="--quantize w8a8_static")
        if self.ranges and self.ranges not in RANGE_METHODS:
            raise UnknownNameError("range method", self.ranges, RANGE_METHODS)
        if self.face not in FACES:
            raise UnknownNameError("face", self.face, FACES)
        if self.max_drop is not None and not (
            math.isfinite(self.max_drop) and 0 <= self.max_drop <= 1
        ):
            raise UsageError(
                f"a drop of {self.max_drop} is no share", remedy="give 0.01 or 1% for one point"
            )
        if self.repair and self.max_drop is None:
            raise UsageError(
                "nothing says how much may be lost", remedy="give --max-drop 1% with --repair"
            )
        if self.samples < 1 or self.calibration_samples < 0:
            raise UsageError(
                "the drop is measured on at least one sample", remedy="give a number above zero"
            )
        for name, value in (
            ("recipes", texts),
            ("float_layers", tuple(self.float_layers)),
            ("data", None if self.data is None else Path(self.data)),
        ):
            object.__setattr__(self, name, value)

    @property
    def specs(self) -> list[QuantSpec | None]:
        """The recipes with these options; None for the float artefact."""
        return [
            None if spec is None else self._changed(spec) for spec in parse_recipes(self.recipes)
        ]

    def _changed(self, spec: QuantSpec) -> QuantSpec:
        return dataclasses.replace(
            spec,
            ranges=self.ranges or spec.ranges,
            float_layers=self.float_layers,
            # A recipe without fixed ranges has a float face, whatever the others have.
            face=self.face if spec.static else "float",
        )

    @property
    def static(self) -> bool:
        """Whether any recipe needs calibration."""
        return any(spec is not None and spec.static for spec in self.specs)

    @property
    def measured(self) -> bool:
        """Whether there is anything to measure the drop on."""
        return self.evaluation is not None or self.data is not None
