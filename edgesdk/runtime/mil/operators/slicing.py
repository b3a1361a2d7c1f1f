"""Slice tensors, replace parts, pad and crop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator

__all__: list[str] = []


def _positions(
    x: Tensor,
    begin: tuple[int, ...],
    end: tuple[int, ...],
    stride: tuple[int, ...] | None,
    begin_mask: tuple[bool, ...] | None,
    end_mask: tuple[bool, ...] | None,
    squeeze_mask: tuple[bool, ...] | None,
) -> tuple[list[range], list[int]]:
    """Return the positions a slice takes along every axis, and the axes it drops."""
    rank = x.dim()
    strides = stride or (1,) * rank
    begin_open = begin_mask or (False,) * rank
    end_open = end_mask or (False,) * rank
    dropped = squeeze_mask or (False,) * rank
    positions = []
    for axis, size in enumerate(x.shape):
        if dropped[axis]:
            at = 0 if begin_open[axis] else begin[axis]
            index = at + size if at < 0 else at
            if not 0 <= index < size:
                raise IndexError(f"index {at} is outside axis {axis} of size {size}")
            positions.append(range(index, index + 1))
            continue
        chosen = slice(
            None if begin_open[axis] else begin[axis],
            None if end_open[axis] else end[axis],
            strides[axis],
        )
        positions.append(range(*chosen.indices(size)))
    return positions, [axis for axis in range(rank) if dropped[axis]]


def _take(x: Tensor, positions: list[range]) -> Tensor:
    for axis, chosen in enumerate(positions):
        if chosen == range(x.shape[axis]):
            continue
        if chosen.step > 0:
            # A view, as torch slices forwards without copying.
            index = (slice(None),) * axis + (slice(chosen.start, chosen.stop, chosen.step),)
            x = x[index]
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x


@operator("slice_by_index")
def _slice_by_index(
    x: Tensor,
    begin: tuple[int, ...],
    end: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    begin_mask: tuple[bool, ...] | None = None,
    end_mask: tuple[bool, ...] | None = None,
    squeeze_mask: tuple[bool, ...] | None = None,
) -> Tensor:
    positions, dropped = _positions(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    return _take(x, positions).squeeze(dropped) if dropped else _take(x, positions)


@operator("slice_by_size")
def _slice_by_size(x: Tensor, begin: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    positions = []
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        length = x.shape[axis]
        start = first + length if first < 0 else first
        stop = length if count == -1 else start + count
        if not 0 <= start <= stop <= length:
            raise IndexError(f"{count} elements from {first} exceed axis {axis} of size {length}")
        positions.append(range(start, stop))
    return _take(x, positions)


@operator("slice_update")
def _slice_update(
    x: Tensor,
    update: Tensor,
    begin: tuple[int, ...],
    end: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    begin_mask: tuple[bool, ...] | None = None,
    end_mask: tuple[bool, ...] | None = None,
    squeeze_mask: tuple[bool, ...] | None = None,
) -> Tensor:
    positions, _ = _positions(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    grid = torch.meshgrid(
        *(torch.tensor(list(chosen), dtype=torch.int64) for chosen in positions), indexing="ij"
    )
    result = x.clone()
    result[grid] = update.reshape([len(chosen) for chosen in positions]).to(x.dtype)
    return result


def _reflect(size: int, before: int, after: int) -> Tensor:
    steps = torch.arange(-before, size + after)
    if size == 1:
        return torch.zeros_like(steps)
    period = 2 * (size - 1)
    folded = steps.remainder(period)
    return torch.minimum(folded, period - folded)


@operator("pad")
def _pad(x: Tensor, pad: tuple[int, ...], mode: str, constant_val: float) -> Tensor:
    first = x.dim() - len(pad) // 2
    edges = [(pad[2 * axis], pad[2 * axis + 1]) for axis in range(len(pad) // 2)]
    if mode == "constant":
        flat = [amount for pair in reversed(edges) for amount in pair]
        return F.pad(x, flat, value=constant_val)
    for axis, (before, after) in enumerate(edges, start=first):
        if not before and not after:
            continue
        size = x.shape[axis]
        if mode == "reflect":
            if max(before, after) >= size:
                raise ValueError(f"a reflection of {max(before, after)} exceeds size {size}")
            source = _reflect(size, before, after)
        else:
            source = torch.arange(-before, size + after).clamp(0, size - 1)
        x = x.index_select(axis, source)
    return x


@operator("crop")
def _crop(x: Tensor, crop_height: tuple[int, ...], crop_width: tuple[int, ...]) -> Tensor:
    height, width = x.shape[-2:]
    return x[..., crop_height[0] : height - crop_height[1], crop_width[0] : width - crop_width[1]]


@operator("band_part")
def _band_part(x: Tensor, lower: int, upper: int) -> Tensor:
    rows = torch.arange(x.shape[-2]).reshape(-1, 1)
    columns = torch.arange(x.shape[-1])
    inside = torch.ones(x.shape[-2:], dtype=torch.bool)
    if lower >= 0:
        inside &= rows - columns <= lower
    if upper >= 0:
        inside &= columns - rows <= upper
    return torch.where(inside, x, torch.zeros((), dtype=x.dtype))
