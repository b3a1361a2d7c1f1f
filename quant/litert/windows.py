"""Windows of LiteRT's convolutions and pools, and the vectors they cut out of a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgesdk.errors import QuantizationError

if TYPE_CHECKING:
    from edgesdk.quant.litert.layers import LitertLayer

__all__ = ["input_vectors", "padding_of"]

#: The schema's numbers of paddings.
_SAME, _VALID = 0, 1
#: Positions of one sample that vectors are taken from; neighbours are much alike.
_POSITIONS = 256


def padding_of(
    options: Any, sizes: tuple[int, int], kernel: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of padding, each before and after.

    Args:
        options: Of a convolution or pool.
        sizes: Height and width of its input.
        kernel: Height and width of its window, without dilation.

    Raises:
        QuantizationError: A padding that the schema does not know.
    """
    if options.padding == _VALID:
        return (0, 0), (0, 0)
    if options.padding != _SAME:
        raise QuantizationError(f"the padding {options.padding} is unknown")
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
    # Pools have none.
    return int(getattr(options, "dilationHFactor", 1)), int(getattr(options, "dilationWFactor", 1))


def input_vectors(layer: LitertLayer, values: np.ndarray) -> np.ndarray | None:
    """What the rows of a layer's weights are multiplied by, at some positions of a sample.

    Args:
        layer: A convolution, or an operator that multiplies by a matrix.
        values: What it takes.

    Returns:
        Floats of shape ``[groups, positions, inputs]``; None for a form of weights that is not
        known.
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
    """Evenly spread places among so many, the same every time."""
    if count <= _POSITIONS:
        return np.arange(count)
    return (np.arange(_POSITIONS) * count) // _POSITIONS


def _some(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, _chosen(vectors.shape[1])]
