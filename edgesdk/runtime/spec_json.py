"""Convert tensor specs to and from plain JSON, for messages between processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec

__all__ = ["specs_from_json", "specs_to_json"]


def specs_to_json(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Convert specs to JSON for :func:`specs_from_json`."""
    return [dataclasses.asdict(spec) for spec in specs]


def _spec_from_json(record: Mapping[str, Any]) -> TensorSpec:
    image = record["image"]
    if image is not None:
        image = ImageSpec(**{**image, "mean": tuple(image["mean"]), "std": tuple(image["std"])})
    return TensorSpec(
        record["name"],
        tuple(record["shape"]),
        record["dtype"],
        # JSON keys are strings.
        {int(axis): DynamicDim(**dimension) for axis, dimension in record["dynamic"].items()},
        record["layout"],
        image,
    )


def specs_from_json(records: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """Read the specs that :func:`specs_to_json` wrote.

    Raises:
        EdgeSdkError: A value is not valid for a spec.
        KeyError: A field is missing.
    """
    return tuple(_spec_from_json(entry) for entry in records)
