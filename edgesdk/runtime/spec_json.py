"""Tensor specs as plain JSON, to cross from one process to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec

__all__ = ["spec_from_json", "specs_from_json", "specs_to_json"]


def specs_to_json(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Specs in their order, as JSON that :func:`specs_from_json` reads back."""
    return [dataclasses.asdict(spec) for spec in specs]


def spec_from_json(told: Mapping[str, Any]) -> TensorSpec:
    """One spec of :func:`specs_to_json`.

    Raises:
        EdgeSdkError: Values that no spec can have.
        KeyError: A field is missing.
    """
    image = told["image"]
    if image is not None:
        image = ImageSpec(**{**image, "mean": tuple(image["mean"]), "std": tuple(image["std"])})
    return TensorSpec(
        told["name"],
        tuple(told["shape"]),
        told["dtype"],
        # JSON has no integer keys.
        {int(axis): DynamicDim(**dimension) for axis, dimension in told["dynamic"].items()},
        told["layout"],
        image,
    )


def specs_from_json(told: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """The specs that :func:`specs_to_json` wrote.

    Raises:
        EdgeSdkError: Values that no spec can have.
        KeyError: A field is missing.
    """
    return tuple(spec_from_json(entry) for entry in told)
