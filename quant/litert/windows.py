"""Windows of LiteRT's convolutions and pools, and their input vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgesdk.errors import QuantizationError

if TYPE_CHECKING:
    from edgesdk.quant.litert.layers import LitertLayer

__all__ = ["input_vectors", "padding_of"]

#: Paddings by their number in the schema.
_SAME, _VALID = 0, 1
#: Number of positions per sample; neighboring ones are similar.
_POSITIONS = 256


def padding_of(
    options: Any, sizes: tuple[int, int], kernel: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding of rows and columns, each before and after.

    Args:
        options: Options of a convolution or pool.
        sizes: Height and width of its input.
        kernel: Height and width of its window, without dilation.

    Raises:
        QuantizationError: The padding is unknown.
    """
    if options.padding == _VALID:
        return (0, 0), (0, 0)
    if options.padding != _SAME:
        raise QuantizationError(f"unknown padding {options.padding}")
    strides, dilations = _strides(options), _dilations(options)
    found = []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        steps = -(-size // stride)
        missing = max(0, (steps - 1) * stride + (window - 1) * dilation + 1 - size)
        found.append((missing // 2, missing - missing // 2))
    return found[0], found[1]


def _strides(options: Any) -> tuple[int, int]:
    return int(options.strideH), int(options.strideW)


def _dilations(options: Any) -> tuple[int, int]:
    # Pools have no dilation.
    return int(getattr(options, "dilationHFactor", 1)), int(getattr(options, "dilationWFactor", 1))


def input_vectors(layer: LitertLayer, values: np.ndarray) -> np.ndarray | None:
    """Return the input vectors of a layer at some positions of a sample.

    Args:
        layer: Convolution or matrix product.
        values: Input of the layer.

    Returns:
        Floats ``[groups, positions, inputs]``; None for unsupported layers.
    """
    if layer.operator.name == "FULLY_CONNECTED":
        return _some(values.reshape(1, -1, layer.weight.shape[1]))
    if layer.operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D") or values.ndim != 4:
        return None
    options = layer.operator.options
    kernel = (layer.weight.shape[1], layer.weight.shape[2])
    margins = padding_of(options, (values.shape[1], values.shape[2]), kernel)
    padded = np.pad(values, ((0, 0), *margins, (0, 0)))
    stride, dilation = _strides(options), _dilations(options)
    starts = [
        np.arange(0, padded.shape[axis + 1] - (kernel[axis] - 1) * dilation[axis], stride[axis])
        for axis in (0, 1)
    ]
    places = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 2)
    places = places[_chosen(len(places))]
    rows = places[:, :1, None] + np.arange(kernel[0])[:, None] * dilation[0]
    columns = places[:, 1:, None] + np.arange(kernel[1])[None, :] * dilation[1]
    # [samples, positions, height, width, channels]
    windows = padded[:, rows, columns]
    channels = windows.shape[-1]
    if layer.operator.name == "DEPTHWISE_CONV_2D":
        vectors = windows.transpose(4, 0, 1, 2, 3).reshape(channels, -1, kernel[0] * kernel[1])
        multiplier = layer.weight.shape[3] // channels
        return vectors if multiplier == 1 else np.repeat(vectors, multiplier, axis=0)
    per_group = layer.weight.shape[3]
    split = windows.reshape(*windows.shape[:4], channels // per_group, per_group)
    return split.transpose(4, 0, 1, 2, 3, 5).reshape(
        channels // per_group, -1, kernel[0] * kernel[1] * per_group
    )


def _chosen(count: int) -> np.ndarray:
    """Choose evenly spaced positions, deterministically."""
    if count <= _POSITIONS:
        return np.arange(count)
    return (np.arange(_POSITIONS) * count) // _POSITIONS


def _some(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, _chosen(vectors.shape[1])]
