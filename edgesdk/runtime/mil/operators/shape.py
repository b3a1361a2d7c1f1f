"""Reshape, transpose, join and split tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator, operators_from

__all__: list[str] = []


operators_from({"transpose": torch.permute}, x=Tensor, perm=tuple[int, ...])
operators_from({"tile": Tensor.repeat}, x=Tensor, reps=tuple[int, ...])
operators_from({"stack": torch.stack}, values=tuple[Tensor, ...], axis=int)


@operator("shape")
def _shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


@operator("reshape")
def _reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    # A zero inherits the size of the dimension equally far from the end; with equal ranks, which
    # older operator sets require, that is the dimension of the same index.
    missing = len(shape) - x.dim()
    wanted = [
        size or (x.shape[axis - missing] if axis >= missing else 1)
        for axis, size in enumerate(shape)
    ]
    return x.reshape(wanted)


@operator("reshape_like")
def _reshape_like(
    x: Tensor,
    ref_tensors: tuple[Tensor, ...],
    begins: tuple[int, ...],
    ends: tuple[int, ...],
    end_masks: tuple[bool, ...],
) -> Tensor:
    shape: list[int] = []
    for reference, begin, end, open_end in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape.extend(reference.shape[begin:] if open_end else reference.shape[begin:end])
    return x.reshape(shape)


@operator("flatten2d")
def _flatten2d(x: Tensor, axis: int) -> Tensor:
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("expand_dims")
def _expand_dims(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("squeeze")
def _squeeze(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    # Dimensions larger than one stay, as in torch.
    return x.squeeze() if axes is None else x.squeeze(axes)


@operator("reverse")
def _reverse(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    return x.flip(tuple(range(x.dim())) if axes is None else axes)


@operator("reverse_sequence")
def _reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int, batch_axis: int) -> Tensor:
    data = x.movedim((batch_axis, seq_axis), (0, 1))
    positions = torch.arange(data.shape[1]).expand(data.shape[0], -1)
    ends = lengths.to(torch.int64).reshape(-1, 1)
    source = torch.where(positions < ends, ends - 1 - positions, positions)
    rows = torch.arange(data.shape[0]).reshape(-1, 1)
    return data[rows, source].movedim((0, 1), (batch_axis, seq_axis))


@operator("concat")
def _concat(values: tuple[Tensor, ...], axis: int, interleave: bool) -> Tensor:
    if values[0].dim() == 0:
        return torch.stack(values)
    if not interleave:
        return torch.cat(values, dim=axis)
    at = axis % values[0].dim()
    return torch.stack(values, dim=at + 1).flatten(at, at + 1)


@operator("split")
def _split(
    x: Tensor,
    axis: int,
    num_splits: int | None = None,
    split_sizes: tuple[int, ...] | None = None,
) -> tuple[Tensor, ...]:
    if split_sizes is not None:
        return torch.split(x, split_sizes, dim=axis)
    if not num_splits or x.shape[axis] % num_splits:
        raise ValueError(f"{x.shape[axis]} elements cannot be split into {num_splits} equal parts")
    return torch.split(x, x.shape[axis] // num_splits, dim=axis)


@operator("sliding_windows")
def _sliding_windows(x: Tensor, axis: int, size: int, stride: int) -> Tensor:
    at = axis % x.dim()
    return x.unfold(at, size, stride).movedim(-1, at + 1)
