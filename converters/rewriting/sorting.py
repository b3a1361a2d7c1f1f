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


RULES = (
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
