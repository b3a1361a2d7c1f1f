"""Reductions without ``keepdim`` as reductions with it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


def _listed(axes: Sequence[int], rank: int) -> list[int]:
    return sorted({axis % rank for axis in axes} or set(range(rank)))


def _greatest(x: Tensor, axes: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    return _dropped(x.amax(_listed(axes, x.dim()), keepdim=True), axes)


def _least(x: Tensor, axes: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    return _dropped(x.amin(_listed(axes, x.dim()), keepdim=True), axes)


def _dropped(x: Tensor, axes: Sequence[int]) -> Tensor:
    gone = _listed(axes, x.dim())
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in gone])


def _drops(x: Tensor, axes: Sequence[int] = (), keepdim: bool = False) -> bool:
    return not keepdim


RULES = (
    Rule(
        frozenset({"aten.amax.default"}),
        frozenset({"executorch:xnnpack"}),
        "the delegate takes a maximum that keeps its dimensions only",
        _greatest,
        _drops,
    ),
    Rule(
        frozenset({"aten.amin.default"}),
        frozenset({"executorch:xnnpack"}),
        "the delegate takes a minimum that keeps its dimensions only",
        _least,
        _drops,
    ),
)
