"""Conversion of an ONNX operator's weights to rows, one per output channel, and back."""

from __future__ import annotations

import numpy as np

from edgesdk.quant.onnx.layers import OnnxLayer

__all__ = ["from_rows", "row_scales", "to_rows"]


def to_rows(weights: np.ndarray, layer: OnnxLayer) -> np.ndarray:
    """Return weights as ``[output channels, fan-in]``, with consecutive groups.

    Args:
        weights: Weights in the operator's layout.
        layer: The operator.
    """
    if layer.kind == "ConvTranspose":
        own = weights.reshape(layer.groups, -1, *weights.shape[1:])
        return np.moveaxis(own, 2, 1).reshape(layer.groups * weights.shape[1], -1)
    return np.moveaxis(weights, layer.axis, 0).reshape(weights.shape[layer.axis], -1)


def from_rows(rows: np.ndarray, layer: OnnxLayer) -> np.ndarray:
    """Return rows in the operator's layout; the inverse of :func:`to_rows`."""
    shape = layer.shape
    if layer.kind == "ConvTranspose":
        own = rows.reshape(layer.groups, shape[1], shape[0] // layer.groups, *shape[2:])
        return np.ascontiguousarray(np.moveaxis(own, 1, 2).reshape(shape))
    axis = layer.axis % len(shape)
    others = [size for place, size in enumerate(shape) if place != axis]
    return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[axis], *others), 0, axis))


def row_scales(scales: np.ndarray, layer: OnnxLayer) -> np.ndarray:
    """Reshape one number per output channel to broadcast over the operator's weights.

    Args:
        scales: Numbers ``[output channels]``.
        layer: The operator.
    """
    rank = len(layer.shape)
    if layer.kind == "ConvTranspose" and layer.groups > 1 and layer.shape[1] > 1:
        own = scales.reshape(layer.groups, 1, layer.shape[1])
        spread = np.repeat(own, layer.shape[0] // layer.groups, axis=1)
        return spread.reshape(*layer.shape[:2], *[1] * (rank - 2))
    shape = [1] * rank
    shape[layer.axis] = -1
    return scales.reshape(shape)
