"""Operators that only move values, in the slices, views and concatenations that targets have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES", "places"]


def places(x: Tensor, axis: int, size: int, step: int) -> list[Tensor]:
    """Return one strided slice for each place in the windows of an axis."""
    axis %= x.dim()
    count = (int(x.shape[axis]) - size) // step + 1
    span = (count - 1) * step + 1
    parts = [x.narrow(axis, place, span) for place in range(size)]
    if step > 1:
        every = [slice(None)] * axis + [slice(None, None, step)]
        parts = [part[tuple(every)] for part in parts]
    return parts


def _unfold(x: Tensor, axis: int, size: int, step: int) -> Tensor:
    return torch.stack(places(x, axis, size, step), dim=-1)


def _has_fixed_axis(x: Tensor, axis: int, size: int, step: int) -> bool:
    return isinstance(x.shape[axis], int)


def _shuffle(x: Tensor, groups: int) -> Tensor:
    n, c, *rest = x.shape
    apart = x.reshape(n, groups, c // groups, *rest)
    return apart.transpose(1, 2).reshape(n, c, *rest)


def _same(x: Tensor) -> Tensor:
    return x


def _chunks(x: Tensor, chunks: int, axis: int = 0) -> list[Tensor]:
    return _pieces(x, -(-int(x.shape[axis]) // chunks), axis)


def _pieces(x: Tensor, size: int, axis: int = 0) -> list[Tensor]:
    whole = int(x.shape[axis])
    return [x.narrow(axis, at, min(size, whole - at)) for at in range(0, whole, size)]


def _pieces_of(x: Tensor, sizes: Sequence[int], axis: int = 0) -> list[Tensor]:
    begins = [sum(sizes[:index]) for index in range(len(sizes))]
    return [x.narrow(axis, at, size) for at, size in zip(begins, sizes, strict=True)]


def _has_fixed_pieces(x: Tensor, size: int | Sequence[int], axis: int = 0) -> bool:
    return isinstance(x.shape[axis], int)


def _identity(rows: int, columns: int | None = None, **options: Any) -> tuple[Tensor, ...]:
    kept = {"dtype": options["dtype"]} if options.get("dtype") is not None else {}
    return (torch.eye(rows, rows if columns is None else columns, **kept),)


def _given(*_: Any, constants: tuple[Tensor, ...], **__: Any) -> Tensor:
    return constants[0]


def _has_fixed_size(*sizes: Any, **_: Any) -> bool:
    return all(isinstance(size, int) for size in sizes)


_SPLIT = "XNNPACK takes slices, and no operator with several results"

RULES = (
    Rule(
        frozenset({"aten.alias.default"}),
        frozenset({"coreml"}),
        "Core ML has no alias of a tensor",
        _same,
    ),
    Rule(
        frozenset({"aten.chunk.default"}),
        frozenset({"executorch:xnnpack"}),
        _SPLIT,
        _chunks,
        _has_fixed_pieces,
    ),
    Rule(
        frozenset({"aten.split.Tensor"}),
        frozenset({"executorch:xnnpack"}),
        _SPLIT,
        _pieces,
        _has_fixed_pieces,
    ),
    Rule(
        frozenset({"aten.split.sizes", "aten.split_with_sizes.default"}),
        frozenset({"executorch:xnnpack"}),
        _SPLIT,
        _pieces_of,
        _has_fixed_pieces,
    ),
    Rule(
        frozenset({"aten.unfold.default"}),
        frozenset({"coreml", "litert"}),
        "the target has no overlapping views",
        _unfold,
        _has_fixed_axis,
    ),
    Rule(
        frozenset({"aten.eye.default", "aten.eye.m"}),
        frozenset({"litert"}),
        "LiteRT makes no identity matrix, but takes one as a constant",
        _given,
        _has_fixed_size,
        _identity,
    ),
    Rule(
        frozenset({"aten.channel_shuffle.default"}),
        frozenset({"coreml"}),
        "Core ML has no channel shuffle",
        _shuffle,
    ),
)
