"""ONNX convolutions, pools and resizes on floats, in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.errors import QuantizationError
from edgesdk.quant.onnx.graph import attribute
from edgesdk.quant.onnx.integer_operators import Operator, given
from edgesdk.quant.onnx.resizing import resize
from edgesdk.quant.onnx.windows import window_of

__all__ = ["IMAGE_OPERATORS", "in_single", "numbers"]

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
_MAX_POOLS: dict[int, Callable[..., Any]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}

Inputs = list[Tensor | None]


def numbers(inputs: Inputs, place: int) -> list[int] | None:
    """Return an input of integers, such as axes; None if it is absent."""
    tensor = inputs[place] if place < len(inputs) else None
    return None if tensor is None else [int(number) for number in tensor.reshape(-1)]


def in_single(function: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
    """Compute in single precision and round to that of ``x``; torch lacks some half kernels."""
    wide = [item.float() if isinstance(item, Tensor) else item for item in rest]
    return function(x.float(), *wide).to(x.dtype)


def _conv(node: Any, inputs: Inputs) -> list[Tensor]:
    x, weight = given(inputs, 0), given(inputs, 1)
    bias = inputs[2] if len(inputs) > 2 else None
    window = window_of(node, weight.shape[2:], x.shape[2:])
    return [
        in_single(
            _CONVOLUTIONS[x.dim() - 2],
            functional.pad(x, window.torch_padding),
            weight,
            bias,
            window.strides,
            0,
            window.dilations,
            int(attribute(node, "group", 1)),
        )
    ]


def _conv_transpose(node: Any, inputs: Inputs) -> list[Tensor]:
    x, weight = given(inputs, 0), given(inputs, 1)
    bias = inputs[2] if len(inputs) > 2 else None
    window = window_of(node, weight.shape[2:], x.shape[2:])
    if attribute(node, "output_shape") or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        raise QuantizationError("the simulation supports ConvTranspose with explicit padding only")
    grown = tuple(attribute(node, "output_padding", [0] * (x.dim() - 2)))
    # Padding crops the result; the two sides may differ.
    result = in_single(
        _TRANSPOSED[x.dim() - 2],
        x,
        weight,
        bias,
        window.strides,
        0,
        grown,
        int(attribute(node, "group", 1)),
        window.dilations,
    )
    for axis, (before, after) in enumerate(zip(window.before, window.after, strict=True), start=2):
        result = result.narrow(axis, before, result.shape[axis] - before - after)
    return [result]


def _pad(node: Any, inputs: Inputs) -> list[Tensor]:
    x, pads = given(inputs, 0), numbers(inputs, 1) or []
    axes = numbers(inputs, 3) or list(range(x.dim()))
    mode = str(attribute(node, "mode", "constant"))
    fill = inputs[2] if len(inputs) > 2 else None
    for place, axis in enumerate(axes):
        before, after = pads[place], pads[len(axes) + place]
        if before or after:
            x = _pad_axis(x, axis % x.dim(), before, after, mode, fill)
    return [x]


def _pad_axis(
    x: Tensor, axis: int, before: int, after: int, mode: str, fill: Tensor | None
) -> Tensor:
    size = x.shape[axis]
    places = torch.arange(-before, size + after)
    if mode == "reflect":
        period = max(2 * size - 2, 1)
        places = places.remainder(period)
        places = torch.minimum(places, period - places)
    elif mode == "edge":
        places = places.clamp(0, size - 1)
    elif mode == "wrap":
        places = places.remainder(size)
    elif mode == "constant":
        outside = (places < 0) | (places >= size)
        taken = x.index_select(axis, places.clamp(0, size - 1))
        shape = [1] * x.dim()
        shape[axis] = -1
        value = float(fill) if fill is not None else 0.0
        return taken.masked_fill(outside.reshape(shape), value)
    else:
        raise QuantizationError(f"the simulation does not support padding {mode!r}")
    return x.index_select(axis, places)


def _max_pool(node: Any, inputs: Inputs) -> list[Tensor]:
    x, kernel = given(inputs, 0), attribute(node, "kernel_shape")
    window = window_of(node, kernel, x.shape[2:])
    before = functional.pad(x.float(), window.torch_padding, value=-math.inf)
    pooled = _MAX_POOLS[x.dim() - 2](
        before,
        tuple(kernel),
        window.strides,
        0,
        window.dilations,
        bool(attribute(node, "ceil_mode", 0)),
    )
    return [pooled.to(x.dtype)]


def _average_pool(node: Any, inputs: Inputs) -> list[Tensor]:
    x, kernel = given(inputs, 0), attribute(node, "kernel_shape")
    window = window_of(node, kernel, x.shape[2:])
    if attribute(node, "ceil_mode", 0) or any(step != 1 for step in window.dilations):
        raise QuantizationError(
            "the simulation does not support AveragePool with ceil_mode or dilations"
        )
    # Sums of values over sums of ones: padding counts only with count_include_pad.
    ones = torch.ones([1, 1, *x.shape[2:]], dtype=torch.float32)
    counted = bool(attribute(node, "count_include_pad", 0))
    shape = [1, 1, *kernel]
    box = torch.ones(shape, dtype=torch.float32)
    convolve = _CONVOLUTIONS[len(kernel)]
    flat = functional.pad(x.float(), window.torch_padding).flatten(0, 1).unsqueeze(1)
    count = functional.pad(ones, window.torch_padding, value=1.0 if counted else 0.0)
    sums = convolve(flat, box, None, window.strides)
    means = sums / convolve(count, box, None, window.strides)
    return [means.reshape(*x.shape[:2], *means.shape[2:]).to(x.dtype)]


def _depth_to_space(node: Any, inputs: Inputs) -> list[Tensor]:
    x, size = given(inputs, 0), int(attribute(node, "blocksize"))
    batch, channels, height, width = x.shape
    if attribute(node, "mode", "DCR") == "CRD":
        return [functional.pixel_shuffle(x, size)]
    parts = x.reshape(batch, size, size, channels // size**2, height, width)
    return [parts.permute(0, 3, 4, 1, 5, 2).reshape(batch, -1, height * size, width * size)]


def _global_mean(node: Any, inputs: Inputs) -> list[Tensor]:
    x = given(inputs, 0)
    return [x.float().mean(dim=tuple(range(2, x.dim())), keepdim=True).to(x.dtype)]


#: Operators by name.
IMAGE_OPERATORS: dict[str, Operator] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "GlobalAveragePool": _global_mean,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Resize": resize,
}
