"""Padding modes that targets lack, as concatenated slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


def _axes(pad: Sequence[int]) -> list[tuple[int, int, int]]:
    """Axis from the end, and pixels before and after, of every axis that is padded."""
    pairs = [(-1 - i // 2, pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return [(axis, before, after) for axis, before, after in pairs if before or after]


def _joined(parts: list[Tensor | None], axis: int) -> Tensor:
    return torch.cat([part for part in parts if part is not None], dim=axis)


def _circular(
    x: Tensor, pad: Sequence[int], mode: str = "constant", value: object = None
) -> Tensor:
    del mode, value
    for axis, before, after in _axes(pad):
        size = x.shape[axis]
        head = x.narrow(axis, size - before, before) if before else None
        tail = x.narrow(axis, 0, after) if after else None
        x = _joined([head, x, tail], axis)
    return x


def _reflected(
    x: Tensor, pad: Sequence[int], mode: str = "constant", value: object = None
) -> Tensor:
    del mode, value
    for axis, before, after in _axes(pad):
        size = x.shape[axis]
        head = x.narrow(axis, 1, before).flip(axis) if before else None
        tail = x.narrow(axis, size - 1 - after, after).flip(axis) if after else None
        x = _joined([head, x, tail], axis)
    return x


def _replicated(
    x: Tensor, pad: Sequence[int], mode: str = "constant", value: object = None
) -> Tensor:
    del mode, value
    for axis, before, after in _axes(pad):
        size = x.shape[axis]
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, size - 1, 1)
        x = torch.cat([*[first] * before, x, *[last] * after], dim=axis)
    return x


def _is_circular(
    x: Tensor, pad: Sequence[int], mode: str = "constant", value: object = None
) -> bool:
    return mode == "circular" and all(side >= 0 for side in pad)


def _is_reflection_of_volumes(
    x: Tensor, pad: Sequence[int], mode: str = "constant", value: object = None
) -> bool:
    return mode == "reflect" and len(_axes(pad)) > 2


def _is_replication_of_volumes(
    x: Tensor, pad: Sequence[int], mode: str = "constant", value: object = None
) -> bool:
    return mode == "replicate" and len(_axes(pad)) > 2


_PAD = frozenset({"aten.pad.default"})

RULES = (
    Rule(
        _PAD,
        frozenset({"coreml"}),
        "Core ML pads by constants, reflection and replication only",
        _circular,
        _is_circular,
    ),
    Rule(
        _PAD,
        frozenset({"coreml"}),
        "Core ML reflects at most two axes at once",
        _reflected,
        _is_reflection_of_volumes,
    ),
    Rule(
        _PAD,
        frozenset({"coreml"}),
        "Core ML replicates at most two axes at once",
        _replicated,
        _is_replication_of_volumes,
    ),
)
