"""ONNX integer operators in torch, exactly as the standard defines them.

Products of integers are summed in double precision, which is exact for sums of up to 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.errors import QuantizationError
from edgesdk.quant.onnx.graph import attribute
from edgesdk.quant.onnx.windows import window_of

__all__ = ["INTEGER_ARITHMETIC", "Operator", "centred", "convolve_exactly", "given"]

#: Maps a node and its inputs (None if absent) to its outputs.
Operator = Callable[[Any, list[Tensor | None]], list[Tensor]]

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}


def given(inputs: list[Tensor | None], place: int) -> Tensor:
    """Return a required input."""
    tensor = inputs[place] if place < len(inputs) else None
    if tensor is None:
        raise QuantizationError(f"an operator lacks its input {place}")
    return tensor


def _optional(inputs: list[Tensor | None], place: int) -> Tensor | None:
    return inputs[place] if place < len(inputs) else None


def _spread(node: Any, numbers: Tensor, like: Tensor) -> Tensor:
    """Reshape scales or zero points to broadcast over a tensor."""
    if numbers.dim() == 0 or numbers.numel() == 1:
        return numbers.reshape([1] * like.dim())
    axis = int(attribute(node, "axis", 1))
    block = int(attribute(node, "block_size", 0))
    if block:
        spread = numbers.repeat_interleave(block, dim=axis)
        return spread.narrow(axis, 0, like.shape[axis])
    shape = [1] * like.dim()
    shape[axis] = -1
    return numbers.reshape(shape)


def _quantize(node: Any, inputs: list[Tensor | None]) -> list[Tensor]:
    x, scale = given(inputs, 0), given(inputs, 1)
    zero_point = _optional(inputs, 2)
    kind = zero_point.dtype if zero_point is not None else torch.uint8
    limits = torch.iinfo(kind)
    steps = torch.round(x.float() / _spread(node, scale.float(), x))
    if zero_point is not None:
        steps = steps + _spread(node, zero_point.float(), x)
    return [steps.clamp(limits.min, limits.max).to(kind)]


def _dequantize(node: Any, inputs: list[Tensor | None]) -> list[Tensor]:
    x, scale = given(inputs, 0), given(inputs, 1)
    zero_point = _optional(inputs, 2)
    # Biases have 32 bits, more than the mantissa of a float.
    numbers = x.double()
    if zero_point is not None:
        numbers = numbers - _spread(node, zero_point.double(), x)
    return [(numbers * _spread(node, scale.double(), x)).to(scale.dtype)]


def _dynamic_quantize(node: Any, inputs: list[Tensor | None]) -> list[Tensor]:
    x = given(inputs, 0).float()
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = (high - low) / 255
    if float(scale) == 0:
        scale = torch.ones_like(scale)
    zero_point = torch.round((-low / scale).clamp(0, 255))
    numbers = (torch.round(x / scale) + zero_point).clamp(0, 255)
    return [numbers.to(torch.uint8), scale, zero_point.to(torch.uint8)]


def centred(x: Tensor, zero_point: Tensor | None, axis: int) -> Tensor:
    """Subtract the zero point, which may vary along an axis."""
    if zero_point is None:
        return x.double()
    if zero_point.numel() > 1:
        shape = [1] * x.dim()
        shape[axis] = -1
        return x.double() - zero_point.double().reshape(shape)
    return x.double() - zero_point.double().reshape(())


def convolve_exactly(node: Any, x: Tensor, weight: Tensor) -> Tensor:
    """Convolve integers in double precision.

    Args:
        node: Operator with strides, dilations and padding.
        x: Image, padded with zeros.
        weight: Kernel.
    """
    window = window_of(node, weight.shape[2:], x.shape[2:])
    return _CONVOLUTIONS[x.dim() - 2](
        functional.pad(x, window.torch_padding),
        weight,
        None,
        window.strides,
        0,
        window.dilations,
        int(attribute(node, "group", 1)),
    )


def _convolve(node: Any, inputs: list[Tensor | None]) -> list[Tensor]:
    # Padding represents zero, so it comes after the subtraction of the zero point.
    x = centred(given(inputs, 0), _optional(inputs, 2), 0)
    weight = centred(given(inputs, 1), _optional(inputs, 3), 0)
    return [convolve_exactly(node, x, weight).to(torch.int32)]


def _multiply(node: Any, inputs: list[Tensor | None]) -> list[Tensor]:
    left = centred(given(inputs, 0), _optional(inputs, 2), -2)
    right = centred(given(inputs, 1), _optional(inputs, 3), -1)
    return [(left @ right).to(torch.int32)]


def _multiply_blocks(node: Any, inputs: list[Tensor | None]) -> list[Tensor]:
    """Compute ``MatMulNBits``: blocks of ``bits``-bit weights, low bits first, centered."""
    x, packed, scales = given(inputs, 0), given(inputs, 1), given(inputs, 2)
    bits, block = int(attribute(node, "bits", 4)), int(attribute(node, "block_size"))
    rows, depth = int(attribute(node, "N")), int(attribute(node, "K"))
    if bits not in (4, 8):
        raise QuantizationError(f"the simulation does not support MatMulNBits with {bits} bits")
    numbers = packed.reshape(rows, -1)
    if bits == 4:
        numbers = torch.stack((numbers & 15, numbers >> 4), dim=-1).reshape(rows, -1)
    blocks = numbers.reshape(rows, -1, block).float()
    zero_points = _optional(inputs, 3)
    middle: Tensor | float = float(2 ** (bits - 1))
    if zero_points is not None:
        points = zero_points.reshape(rows, -1)
        if bits == 4:
            points = torch.stack((points & 15, points >> 4), dim=-1).reshape(rows, -1)
        middle = points[:, : blocks.shape[1], None].float()
    weight = (blocks - middle) * scales.reshape(rows, -1, 1)
    result = x @ weight.reshape(rows, -1)[:, :depth].T
    bias = _optional(inputs, 5)
    return [result if bias is None else result + bias]


#: Operators by name.
INTEGER_ARITHMETIC: dict[str, Operator] = {
    "ConvInteger": _convolve,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "MatMulInteger": _multiply,
    "MatMulNBits": _multiply_blocks,
    "QuantizeLinear": _quantize,
}
