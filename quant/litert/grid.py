"""Floats put on the integers of a LiteRT tensor, as the kernels of its operators do it.

All kernels round to the nearest integer, but not by the same steps: some round half a step in
another direction, some twice. The difference is one step here and there; in a deep network it adds
up to more than the parity between two implementations allows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgesdk.quant.litert.file import LitertModel, LitertOperator, LitertTensor

__all__ = ["on_grid", "put_result", "rounded_rows"]

#: Fraction of the factor with which XNNPACK brings 8-bit integers to another scale.
_FACTOR = 256.0
#: Operators whose sums of products get another scale; one for each channel, the last axis.
_PRODUCTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
#: Parts of a step that floats of single precision tell apart.
_FINE = 65536.0


def on_grid(tensor: LitertTensor, value: Tensor) -> Tensor:
    """A value as the integers of its tensor can say it; halves go to the even integer."""
    if not tensor.quantized:
        return value.to(torch.float32) if value.is_floating_point() else value
    scale, zero = _scale(tensor)
    return _decoded(tensor, (value.to(torch.float64) / scale).round_() + zero)


def put_result(
    model: LitertModel, operator: LitertOperator, tensor: LitertTensor, value: Tensor
) -> Tensor:
    """The result of an operator as its tensor holds it.

    Args:
        model: The model.
        operator: Whose result it is.
        tensor: Where it goes.
        value: What the operator computed in floats.
    """
    if not tensor.quantized:
        return on_grid(tensor, value)
    if operator.name == "QUANTIZE" and tensor.bits == 8:
        source = model.tensors[operator.inputs[0]]
        if source.quantized and source.bits == 8:
            return _rescaled(source, tensor, value)
    if operator.name == "AVERAGE_POOL_2D":
        # Its sums are divided as integers: halves are frequent, and must be seen as such.
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
    """XNNPACK's conversion between two scales: a factor of few bits, halves upwards."""
    (old, _), (new, zero) = _scale(source), _scale(tensor)
    factor = round(_FACTOR * old / new)
    steps = (value.to(torch.float64) / old).round()
    return _decoded(tensor, (steps * (factor / _FACTOR) + 0.5).floor() + zero)


def _scaled_sum(
    source: LitertTensor, weight: LitertTensor, tensor: LitertTensor, value: Tensor
) -> Tensor:
    """XNNPACK's way from a sum of products to its scale: one product in single precision."""
    scale, zero = _scale(tensor)
    steps = torch.tensor(weight.scales) * torch.tensor(_scale(source)[0])
    sums = (value.to(torch.float64) / steps.double()).round().to(torch.float32)
    return _decoded(tensor, (sums * (steps / torch.tensor(scale))).round().double() + zero)


def _rounded_twice(
    source: LitertTensor, weight: LitertTensor, tensor: LitertTensor, value: Tensor
) -> Tensor:
    """The interpreter's own kernels: to whole steps of a sum first, then to those of the result."""
    scale, zero = _scale(tensor)
    factors = torch.tensor(weight.scales, dtype=torch.float64) * (_scale(source)[0] / scale)
    _, exponents = torch.frexp(factors)
    finer = torch.pow(2.0, (-exponents).clamp_min(0).double())
    steps = ((value.to(torch.float64) / scale) * finer + 0.5).floor()
    return _decoded(tensor, (steps / finer + 0.5).floor() + zero)


def rounded_rows(rows: Tensor) -> Tensor:
    """What an operator makes of floats that it multiplies by integer weights.

    Args:
        rows: Of shape ``[ranges, values]``; each row gets 8 bits over its own range.
    """
    low = rows.amin(dim=1, keepdim=True).clamp_max(0.0)
    high = rows.amax(dim=1, keepdim=True).clamp_min(0.0)
    steps = torch.where(high > low, 255.0 / (high - low), torch.ones_like(low))
    from_low, from_high = -128.0 - low * steps, 127.0 - high * steps
    zero = torch.where((low + high) * steps - 1.0 > 0, from_low, from_high)
    zero = zero.clamp(-128.0, 127.0).round()
    integers = ((rows * steps).round() + zero).clamp(-128.0, 127.0)
    return (integers - zero) * (1.0 / steps)
