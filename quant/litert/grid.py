"""Rounding of floats to the integers of a LiteRT tensor, as the kernels of its operators do it.

All kernels round to the nearest integer, but some round halves in another direction, and some round
twice. Such differences of one step add up in a deep network to more than parity allows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgesdk.quant.litert.file import LitertModel, LitertOperator, LitertTensor

__all__ = ["on_grid", "put_result", "rounded_rows"]

#: Fixed-point steps of the factor with which XNNPACK rescales 8-bit integers.
_FACTOR = 256.0
#: Operators with accumulators, rescaled per channel of the last axis.
_PRODUCTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
#: Fractions of a step that single precision distinguishes.
_FINE = 65536.0


def on_grid(tensor: LitertTensor, value: Tensor) -> Tensor:
    """Round a value to the integers of its tensor, half to even."""
    if not tensor.quantized:
        return value.to(torch.float32) if value.is_floating_point() else value
    scale, zero = _scale(tensor)
    return _decoded(tensor, (value.to(torch.float64) / scale).round_() + zero)


def put_result(
    model: LitertModel, operator: LitertOperator, tensor: LitertTensor, value: Tensor
) -> Tensor:
    """Round the result of an operator as its kernel does.

    Args:
        model: Model.
        operator: Operator that computed the result.
        tensor: Tensor of the result.
        value: Result in floats.
    """
    if not tensor.quantized:
        return on_grid(tensor, value)
    if operator.name == "QUANTIZE" and tensor.bits == 8:
        source = model.tensors[operator.inputs[0]]
        if source.quantized and source.bits == 8:
            return _rescaled(source, tensor, value)
    if operator.name == "AVERAGE_POOL_2D":
        # Its sums are divided as integers: halves are frequent, and must be recognized.
        scale, zero = _scale(tensor)
        exact = (value.to(torch.float64) / scale * _FINE).round() / _FINE
        return _decoded(tensor, _half_away(exact + zero))
    if operator.name in _PRODUCTS:
        source, weight = (model.tensors[operator.inputs[slot]] for slot in (0, 1))
        if not (source.quantized and weight.quantized):
            return on_grid(tensor, value)
        if operator.name == "CONV_2D" and (weight.bits < 8 or source.bits == 16):
            return _rounded_twice(source, weight, tensor, value)
        if source.bits == 8:
            return _scaled_sum(source, weight, tensor, value)
    return on_grid(tensor, value)


def _scale(tensor: LitertTensor) -> tuple[float, float]:
    return float(tensor.scales[0]), float(tensor.zero_points[0])


def _decoded(tensor: LitertTensor, integers: Tensor) -> Tensor:
    scale, zero = _scale(tensor)
    return ((integers.clamp(*tensor.levels) - zero) * scale).to(torch.float32)


def _half_away(value: Tensor) -> Tensor:
    return value.sign() * (value.abs() + 0.5).floor()


def _rescaled(source: LitertTensor, tensor: LitertTensor, value: Tensor) -> Tensor:
    """Rescale as XNNPACK does: a factor of few bits, half up."""
    (old, _), (new, zero) = _scale(source), _scale(tensor)
    factor = round(_FACTOR * old / new)
    steps = (value.to(torch.float64) / old).round()
    return _decoded(tensor, (steps * (factor / _FACTOR) + 0.5).floor() + zero)


def _scaled_sum(
    source: LitertTensor, weight: LitertTensor, tensor: LitertTensor, value: Tensor
) -> Tensor:
    """Rescale an accumulator as XNNPACK does: one product in single precision."""
    scale, zero = _scale(tensor)
    steps = torch.tensor(weight.scales) * torch.tensor(_scale(source)[0])
    sums = (value.to(torch.float64) / steps.double()).round().to(torch.float32)
    return _decoded(tensor, (sums * (steps / torch.tensor(scale))).round().double() + zero)


def _rounded_twice(
    source: LitertTensor, weight: LitertTensor, tensor: LitertTensor, value: Tensor
) -> Tensor:
    """Round as the interpreter's kernels do: to steps of the sum, then to those of the result."""
    scale, zero = _scale(tensor)
    factors = torch.tensor(weight.scales, dtype=torch.float64) * (_scale(source)[0] / scale)
    _, exponents = torch.frexp(factors)
    finer = torch.pow(2.0, (-exponents).clamp_min(0).double())
    steps = ((value.to(torch.float64) / scale) * finer + 0.5).floor()
    return _decoded(tensor, (steps / finer + 0.5).floor() + zero)


def rounded_rows(rows: Tensor) -> Tensor:
    """Round the float inputs of an operator with integer weights.

    Args:
        rows: Values ``[ranges, values]``; each row gets 8 bits over its own range.
    """
    low = rows.amin(dim=1, keepdim=True).clamp_max(0.0)
    high = rows.amax(dim=1, keepdim=True).clamp_min(0.0)
    steps = torch.where(high > low, 255.0 / (high - low), torch.ones_like(low))
    from_low, from_high = -128.0 - low * steps, 127.0 - high * steps
    zero = torch.where((low + high) * steps - 1.0 > 0, from_low, from_high)
    zero = zero.clamp(-128.0, 127.0).round()
    integers = ((rows * steps).round() + zero).clamp(-128.0, 127.0)
    return (integers - zero) * (1.0 / steps)
