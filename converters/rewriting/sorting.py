"""Order and classes: sorts as selections of all elements, classes as comparisons."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


def _gathered(x: Tensor, count: int, axis: int, largest: bool) -> list[Tensor]:
    """Values and places; targets that cannot give the values of a selection give its places."""
    places = torch.topk(x, count, axis, largest)[1]
    return [torch.gather(x, axis, places), places]


def _sort(x: Tensor, axis: int = -1, descending: bool = False) -> list[Tensor]:
    return _gathered(x, int(x.shape[axis]), axis, descending)


def _argsort(x: Tensor, axis: int = -1, descending: bool = False) -> Tensor:
    return torch.topk(x, int(x.shape[axis]), axis, descending)[1]


def _topk(
    x: Tensor, k: int, axis: int = -1, largest: bool = True, sorted: bool = True
) -> list[Tensor]:
    return _gathered(x, int(k), axis, largest)


def _has_fixed_axis(x: Tensor, axis: int = -1, *_: Any, **__: Any) -> bool:
    return x.dim() > 0 and isinstance(x.shape[axis], int)


def _gives_values(x: Tensor, k: int, axis: int = -1, *_: Any, **__: Any) -> bool:
    return x.dim() > 0 and isinstance(k, int)


def _classes(x: Tensor, count: int = -1) -> tuple[Tensor, ...]:
    return (torch.arange(count),)


def _one_hot(x: Tensor, count: int = -1, *, constants: tuple[Tensor, ...]) -> Tensor:
    return (x.unsqueeze(-1) == constants[0]).to(torch.int64)


def _has_count(x: Tensor, count: int = -1) -> bool:
    return isinstance(count, int) and count > 0


def _bucket(x: Tensor, edges: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """Count the edges below each element; with ``right`` also those that it lies on."""
    values = x.unsqueeze(-1)
    passed = edges <= values if right else edges < values
    return passed.to(torch.int32 if out_int32 else torch.int64).sum(
        -1, dtype=torch.int32 if out_int32 else torch.int64
    )


def _searched(edges: Tensor, x: Tensor, *, side: str | None = None, **options: Any) -> Tensor:
    return _bucket(
        x,
        edges,
        out_int32=options.get("out_int32", False),
        right=options.get("right", False) or side == "right",
    )


def _has_one_axis(x: Tensor, edges: Tensor, **_: Any) -> bool:
    return edges.dim() == 1


def _searches_one_axis(edges: Tensor, x: Tensor, *, sorter: Any = None, **_: Any) -> bool:
    return edges.dim() == 1 and sorter is None


RULES = (
    Rule(
        frozenset({"aten.bucketize.Tensor"}),
        frozenset({"coreml", "executorch", "litert"}),
        "the target has no search in a sorted list",
        _bucket,
        _has_one_axis,
    ),
    Rule(
        frozenset({"aten.searchsorted.Tensor"}),
        frozenset({"coreml", "executorch", "litert", "onnx"}),
        "the target has no search in a sorted list",
        _searched,
        _searches_one_axis,
    ),
    Rule(
        frozenset({"aten.one_hot.default"}),
        frozenset({"litert"}),
        "LiteRT's converter would check values while it runs",
        _one_hot,
        _has_count,
        _classes,
    ),
    Rule(
        frozenset({"aten.sort.default"}),
        frozenset({"executorch", "litert"}),
        "the target selects the largest elements, and has no sort",
        _sort,
        _has_fixed_axis,
    ),
    Rule(
        frozenset({"aten.argsort.default"}),
        frozenset({"executorch", "litert"}),
        "the target selects the largest elements, and has no sort",
        _argsort,
        _has_fixed_axis,
    ),
    Rule(
        frozenset({"aten.topk.default"}),
        frozenset({"litert"}),
        "LiteRT gives the places of the largest elements, and not their values",
        _topk,
        _gives_values,
        if_read=0,
    ),
)
