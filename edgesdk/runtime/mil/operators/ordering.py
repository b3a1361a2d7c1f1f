"""Sorting, top-k and cumulative sums. Ties keep their order, so runs are reproducible."""

from __future__ import annotations

import torch
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator

__all__: list[str] = []


@operator("argsort")
def _argsort(x: Tensor, axis: int, ascending: bool) -> Tensor:
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)


@operator("topk")
def _topk(
    x: Tensor,
    k: int,
    axis: int,
    ascending: bool,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    if k > x.shape[axis]:
        raise ValueError(f"k is {k}, but the axis has {x.shape[axis]} elements")
    ordered = torch.sort(x, dim=axis, descending=not ascending, stable=True)
    values, places = ordered.values.narrow(axis, 0, k), ordered.indices.narrow(axis, 0, k)
    return (values, places) if return_indices else values


@operator("cumsum")
def _cumsum(x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    data = x.flip(axis) if reverse else x
    sums = torch.cumsum(data, dim=axis)
    if exclusive:
        sums = torch.cat(
            [
                torch.zeros_like(sums.narrow(axis, 0, 1)),
                sums.narrow(axis, 0, sums.shape[axis] - 1),
            ],
            dim=axis,
        )
    return sums.flip(axis) if reverse else sums
