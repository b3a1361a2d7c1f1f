"""ONNX ``Resize`` in torch: nearest and linear, per axis, with the standard's coordinates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgesdk.errors import QuantizationError
from edgesdk.quant.onnx.graph import attribute
from edgesdk.quant.onnx.integer_operators import given

__all__ = ["resize"]


def resize(node: Any, inputs: list[Tensor | None]) -> list[Tensor]:
    """Resize an image.

    Raises:
        QuantizationError: The mode is not nearest or linear, or an option is not supported.
    """
    x = given(inputs, 0)
    mode = str(attribute(node, "mode", "nearest"))
    if mode not in ("nearest", "linear") or attribute(node, "antialias", 0):
        raise QuantizationError(f"the simulation does not support Resize mode {mode!r}")
    if str(attribute(node, "keep_aspect_ratio_policy", "stretch")) != "stretch":
        raise QuantizationError(
            "the simulation does not support Resize with keep_aspect_ratio_policy"
        )
    axes = list(attribute(node, "axes", list(range(x.dim()))))
    scales = inputs[2] if len(inputs) > 2 else None
    sizes = inputs[3] if len(inputs) > 3 else None
    result = x.float()
    for place, axis in enumerate(axes):
        old = x.shape[axis]
        if scales is not None and scales.numel():
            scale = float(scales[place])
            new = int(old * scale)
        elif sizes is not None:
            new = int(sizes[place])
            scale = new / old
        else:
            raise QuantizationError("Resize has neither scales nor sizes")
        if new != old or scale != 1.0:
            result = _along(node, result, axis, new, scale, mode)
    return [result.to(x.dtype)]


def _along(node: Any, x: Tensor, axis: int, new: int, scale: float, mode: str) -> Tensor:
    old = x.shape[axis]
    places = _coordinates(node, old, new, scale)
    if mode == "nearest":
        nearest = _nearest(str(attribute(node, "nearest_mode", "round_prefer_floor")), places)
        return x.index_select(axis, nearest.clamp(0, old - 1).long())
    low = places.floor()
    shape = [1] * x.dim()
    shape[axis] = -1
    share = (places - low).float().reshape(shape)
    first = x.index_select(axis, low.clamp(0, old - 1).long())
    second = x.index_select(axis, (low + 1).clamp(0, old - 1).long())
    return first + (second - first) * share


def _coordinates(node: Any, old: int, new: int, scale: float) -> Tensor:
    mode = str(attribute(node, "coordinate_transformation_mode", "half_pixel"))
    places = torch.arange(new, dtype=torch.float64)
    if mode == "asymmetric":
        return places / scale
    if mode == "align_corners":
        return places * ((old - 1) / (new - 1)) if new > 1 else places * 0
    if mode == "pytorch_half_pixel" and new == 1:
        return places * 0
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (places + 0.5) / scale - 0.5
    raise QuantizationError(f"the simulation does not support Resize coordinates {mode!r}")


def _nearest(mode: str, places: Tensor) -> Tensor:
    if mode == "floor":
        return places.floor()
    if mode == "ceil":
        return places.ceil()
    if mode == "round_prefer_ceil":
        return (places + 0.5).floor()
    return (places - 0.5).ceil()
