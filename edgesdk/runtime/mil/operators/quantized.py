"""Quantized activations and compressed constants."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator

__all__: list[str] = []

_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}


def _along(values: Tensor, rank: int, axis: int | None) -> Tensor:
    if values.dim() == 0 or axis is None:
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


@operator("quantize")
def _quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    lowest, highest = _RANGES[output_dtype]
    steps = torch.round(input / _along(scale, input.dim(), axis))
    if zero_point is not None:
        steps = steps + _along(zero_point, input.dim(), axis)
    return torch.clamp(steps, lowest, highest).to(torch.int32)


@operator("dequantize", "constexpr_affine_dequantize")
def _dequantize(
    scale: Tensor,
    input: Tensor | None = None,
    quantized_data: Tensor | None = None,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    data = input if input is not None else quantized_data
    if data is None:
        raise ValueError("there is nothing to dequantize")
    steps = data.to(torch.float32)
    if zero_point is not None:
        steps = steps - _along(zero_point, data.dim(), axis)
    return steps * _along(scale, data.dim(), axis)


@operator("constexpr_cast")
def _constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    return source_val.to(torch.float32)


def _unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Unpack ``count`` unsigned numbers of ``bits`` bits, lowest bits of each byte first."""
    octets = packed.reshape(-1, 1).to(torch.uint8)
    stream = ((octets >> torch.arange(8, dtype=torch.uint8)) & 1).reshape(-1)
    if stream.numel() < count * bits:
        raise ValueError(f"{packed.numel()} bytes do not hold {count} numbers of {bits} bits")
    numbers = stream[: count * bits].reshape(count, bits).to(torch.int32)
    return (numbers << torch.arange(bits, dtype=torch.int32)).sum(dim=1)


def _spread(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeat values per block so that every element of ``shape`` has its own."""
    for axis, size in enumerate(shape):
        if values.shape[axis] not in (1, size):
            values = values.repeat_interleave(size // values.shape[axis], dim=axis)
    return values


@operator("constexpr_blockwise_shift_scale")
def _shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    shape = tuple(data.shape)
    steps = data.to(torch.float32)
    if offset is not None:
        steps = steps - _spread(offset, shape)
    return steps * _spread(scale, shape)


@operator("constexpr_lut_to_dense")
def _lut_to_dense(
    indices: Tensor,
    lut: Tensor,
    shape: tuple[int, ...] | None = None,
    vector_axis: int | None = None,
) -> Tensor:
    if shape is not None:
        bits = round(math.log2(lut.numel()))
        return lut.reshape(-1)[_unpack(indices, bits, math.prod(shape))].reshape(shape)
    rank = indices.dim()
    palettes, vector = lut.shape[-2:]
    # One row per table; every element gets the number of its block's table.
    tables = torch.arange(math.prod(lut.shape[:rank])).reshape(lut.shape[:rank])
    rows = _spread(tables, tuple(indices.shape)).expand(indices.shape) * palettes
    entries = lut.reshape(-1, vector)[rows + indices.to(torch.int64)]
    if vector == 1:
        return entries.squeeze(-1)
    at = (vector_axis or 0) % rank
    return entries.movedim(-1, at + 1).flatten(at, at + 1)


@operator("constexpr_sparse_to_dense")
def _sparse_to_dense(
    nonzero_data: Tensor, mask: Tensor, shape: tuple[int, ...] | None = None
) -> Tensor:
    kept = mask if shape is None else _unpack(mask, 1, math.prod(shape)).reshape(shape)
    dense = torch.zeros(kept.shape, dtype=nonzero_data.dtype)
    dense[kept != 0] = nonzero_data.reshape(-1)
    return dense


@operator("constexpr_lut_to_sparse")
def _lut_to_sparse(
    indices_mask: Tensor,
    indices_nonzero_data: Tensor,
    lut: Tensor,
    vector_axis: int | None = None,
) -> tuple[Tensor, Tensor]:
    indices = _sparse_to_dense(indices_nonzero_data, indices_mask)
    dense = _lut_to_dense(indices, lut, vector_axis=vector_axis)
    mask = indices_mask
    if lut.shape[-1] > 1:
        mask = mask.repeat_interleave(lut.shape[-1], dim=vector_axis or 0)
    return mask, dense[mask != 0]


@operator("constexpr_sparse_blockwise_shift_scale")
def _sparse_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    dense = _shift_scale(_sparse_to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]
