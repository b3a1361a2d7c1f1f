"""Gather from indices in a tensor, and scatter to them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator

__all__: list[str] = []

_SCATTER_REDUCTIONS = {"mul": "prod", "div": "prod", "max": "amax", "min": "amin"}


def _places(indices: Tensor, size: int, validate: bool = False) -> Tensor:
    """Count negative indices from the end; refuse indices outside ``size``.

    Operators that validate their indices treat negative ones as outside.
    """
    wrapped = indices.to(torch.int64)
    if not validate:
        wrapped = torch.where(wrapped < 0, wrapped + size, wrapped)
    if wrapped.numel() and not 0 <= int(wrapped.min()) <= int(wrapped.max()) < size:
        raise IndexError(f"an index is outside a dimension of size {size}")
    return wrapped


@operator("gather")
def _gather(
    x: Tensor, indices: Tensor, axis: int, batch_dims: int = 0, validate_indices: bool = False
) -> Tensor:
    at = axis % x.dim()
    places = _places(indices, x.shape[at], validate_indices)
    if batch_dims == 0:
        taken = x.index_select(at, places.reshape(-1))
        return taken.reshape(*x.shape[:at], *indices.shape, *x.shape[at + 1 :])
    batch = x.shape[:batch_dims]
    rows = x.reshape(-1, *x.shape[batch_dims:])
    row_places = places.reshape(rows.shape[0], *indices.shape[batch_dims:])
    taken = torch.stack(
        [
            row.index_select(at - batch_dims, place.reshape(-1))
            for row, place in zip(rows, row_places, strict=True)
        ]
    )
    inner = (*x.shape[batch_dims:at], *indices.shape[batch_dims:], *x.shape[at + 1 :])
    return taken.reshape(*batch, *inner)


@operator("gather_along_axis")
def _gather_along_axis(
    x: Tensor, indices: Tensor, axis: int, validate_indices: bool = False
) -> Tensor:
    return torch.gather(x, axis, _places(indices, x.shape[axis], validate_indices))


def _flat_places(indices: Tensor, sizes: tuple[int, ...], validate: bool) -> Tensor:
    """Compute indices into flattened ``sizes``; drops the last axis of ``indices``."""
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for column, size in enumerate(sizes):
        flat = flat * size + _places(indices[..., column], size, validate)
    return flat


@operator("gather_nd")
def _gather_nd(
    x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False
) -> Tensor:
    depth = indices.shape[-1]
    batch, sizes = x.shape[:batch_dims], x.shape[batch_dims : batch_dims + depth]
    rest = x.shape[batch_dims + depth :]
    count = math.prod(batch)
    places = _flat_places(indices, tuple(sizes), validate_indices).reshape(count, -1)
    table = x.reshape(count, math.prod(sizes), math.prod(rest))
    wanted = places.unsqueeze(-1).expand(-1, -1, table.shape[-1])
    return torch.gather(table, 1, wanted).reshape(*indices.shape[:-1], *rest)


def _scatter(data: Tensor, axis: int, places: Tensor, updates: Tensor, mode: str) -> Tensor:
    """Scatter ``updates`` into ``places`` of ``data`` along ``axis``."""
    if mode == "update":
        return data.scatter(axis, places, updates)
    if mode in ("add", "sub"):
        return data.scatter_add(axis, places, updates if mode == "add" else -updates)
    if mode not in _SCATTER_REDUCTIONS:
        raise ValueError(f"unknown scatter mode {mode!r}")
    if mode == "div":
        divisors = torch.ones_like(data).scatter_reduce(axis, places, updates, "prod")
        return torch.div(data, divisors)
    return data.scatter_reduce(axis, places, updates, _SCATTER_REDUCTIONS[mode])


@operator("scatter_along_axis")
def _scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int,
    mode: str,
    validate_indices: bool = False,
) -> Tensor:
    return _scatter(data, axis, _places(indices, data.shape[axis], validate_indices), updates, mode)


@operator("scatter")
def _scatter_slices(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int,
    mode: str,
    validate_indices: bool = False,
) -> Tensor:
    at = axis % data.dim()
    shape = [1] * data.dim()
    shape[at] = -1
    places = _places(indices, data.shape[at], validate_indices).reshape(shape)
    wanted = updates.reshape(*data.shape[:at], -1, *data.shape[at + 1 :])
    return _scatter(data, at, places.expand(wanted.shape), wanted, mode)


@operator("scatter_nd")
def _scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str, validate_indices: bool = False
) -> Tensor:
    depth = indices.shape[-1]
    sizes = tuple(data.shape[:depth])
    table = data.reshape(math.prod(sizes), -1)
    places = (
        _flat_places(indices, sizes, validate_indices).reshape(-1, 1).expand(-1, table.shape[1])
    )
    return _scatter(table, 0, places, updates.reshape(places.shape), mode).reshape(data.shape)
