"""LiteRT convolutions, pools and resizes, computed in floats by torch.

Images are ``[samples, height, width, channels]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.quant.litert.operators import activated
from edgesdk.quant.litert.windows import padding_of

__all__ = ["CONVOLUTIONS"]


def _planes(image: Tensor) -> Tensor:
    return image.permute(0, 3, 1, 2)


def _image(planes: Tensor) -> Tensor:
    return planes.permute(0, 2, 3, 1).contiguous()


def _padded(options: Any, image: Tensor, kernel: tuple[int, int], value: float = 0.0) -> Tensor:
    rows, columns = padding_of(options, (image.shape[1], image.shape[2]), kernel)
    return functional.pad(_planes(image), (*columns, *rows), value=value)


def _convolution(options: Any, image: Tensor, weight: Tensor, groups: int, bias: Any) -> Tensor:
    planes = functional.conv2d(
        _padded(options, image, (weight.shape[2], weight.shape[3])),
        weight,
        bias,
        stride=(options.strideH, options.strideW),
        dilation=(options.dilationHFactor, options.dilationWFactor),
        groups=groups,
    )
    return activated(options, _image(planes))


def _conv_2d(options: Any, image: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    groups = image.shape[3] // weight.shape[3]
    return _convolution(options, image, weight.permute(0, 3, 1, 2), groups, bias)


def _depthwise(options: Any, image: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _convolution(options, image, weight.permute(3, 0, 1, 2), image.shape[3], bias)


def _transpose_conv(
    options: Any, size: Tensor, weight: Tensor, image: Tensor, bias: Tensor | None = None
) -> Tensor:
    strides = (int(options.strideH), int(options.strideW))
    whole = functional.conv_transpose2d(_planes(image), weight.permute(3, 0, 1, 2), stride=strides)
    height, width = int(size[1]), int(size[2])
    crops = []
    for wanted, given in ((height, whole.shape[2]), (width, whole.shape[3])):
        # The smaller half of the surplus goes in front, as in the convolution it inverts.
        front = max(0, given - wanted) // 2 if options.padding == 0 else 0
        crops.append((front, max(0, front + wanted - given)))
    missing = (0, crops[1][1], 0, crops[0][1])
    grown = functional.pad(whole, missing)
    cut = grown[:, :, crops[0][0] : crops[0][0] + height, crops[1][0] : crops[1][0] + width]
    shifted = cut if bias is None else cut + bias.reshape(1, -1, 1, 1)
    return activated(options, _image(shifted))


def _pool_window(options: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    kernel = (int(options.filterHeight), int(options.filterWidth))
    return kernel, (int(options.strideH), int(options.strideW))


def _max_pool(options: Any, image: Tensor) -> Tensor:
    kernel, strides = _pool_window(options)
    planes = _padded(options, image, kernel, -float("inf"))
    return activated(options, _image(functional.max_pool2d(planes, kernel, strides)))


def _average_pool(options: Any, image: Tensor) -> Tensor:
    kernel, strides = _pool_window(options)
    total = functional.avg_pool2d(_padded(options, image, kernel), kernel, strides)
    # Padding does not count in the average.
    ones = torch.ones_like(image[:1, :, :, :1])
    share = functional.avg_pool2d(_padded(options, ones, kernel), kernel, strides)
    return activated(options, _image(total / share))


def _positions(options: Any, size: int, wanted: int) -> Tensor:
    """Return the positions of a resize's results in its input."""
    places = torch.arange(wanted, dtype=torch.float64)
    if options.alignCorners and wanted > 1:
        return places * ((size - 1) / (wanted - 1))
    if options.halfPixelCenters:
        return (places + 0.5) * (size / wanted) - 0.5
    return places * (size / wanted)


def _resize_nearest(options: Any, image: Tensor, size: Tensor) -> Tensor:
    result = image
    for axis, wanted in zip((1, 2), size.tolist(), strict=True):
        given = image.shape[axis]
        places = _positions(options, given, wanted)
        rounds = options.alignCorners or options.halfPixelCenters
        nearest = torch.floor(places + 0.5) if rounds else torch.floor(places)
        result = result.index_select(axis, nearest.long().clamp(0, given - 1))
    return result


def _resize_bilinear(options: Any, image: Tensor, size: Tensor) -> Tensor:
    result = image
    for axis, wanted in zip((1, 2), size.tolist(), strict=True):
        given = image.shape[axis]
        places = _positions(options, given, wanted).clamp_min(0.0)
        below = places.floor().long().clamp(0, given - 1)
        above = (below + 1).clamp(0, given - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = wanted
        part = (places - below).to(image.dtype).reshape(shape)
        lower, upper = result.index_select(axis, below), result.index_select(axis, above)
        result = lower * (1 - part) + upper * part
    return result


def _space_to_depth(options: Any, image: Tensor) -> Tensor:
    count, height, width, channels = image.shape
    block = int(options.blockSize)
    split = image.reshape(count, height // block, block, width // block, block, channels)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(count, height // block, width // block, -1)


def _depth_to_space(options: Any, image: Tensor) -> Tensor:
    count, height, width, channels = image.shape
    block = int(options.blockSize)
    split = image.reshape(count, height, width, block, block, channels // block**2)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(count, height * block, width * block, -1)


#: Functions from options and inputs to results, by operator name in the schema.
CONVOLUTIONS: dict[str, Callable[..., Tensor]] = {
    "AVERAGE_POOL_2D": _average_pool,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": _depth_to_space,
    "MAX_POOL_2D": _max_pool,
    "RESIZE_BILINEAR": _resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
    "SPACE_TO_DEPTH": _space_to_depth,
    "TRANSPOSE_CONV": _transpose_conv,
}
