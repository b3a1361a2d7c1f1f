"""Padding modes that targets lack, as concatenated slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]

# The parts before and after a tensor along one axis, of so many elements.
_Ends = Callable[[Tensor, int, int, int], tuple[list[Tensor], list[Tensor]]]


def _circular(x: Tensor, axis: int, before: int, after: int) -> tuple[list[Tensor], list[Tensor]]:
    return [x.narrow(axis, x.shape[axis] - before, before)], [x.narrow(axis, 0, after)]


def _reflected(x: Tensor, axis: int, before: int, after: int) -> tuple[list[Tensor], list[Tensor]]:
    tail = x.narrow(axis, x.shape[axis] - 1 - after, after)
    return [x.narrow(axis, 1, before).flip(axis)], [tail.flip(axis)]


def _replicated(x: Tensor, axis: int, before: int, after: int) -> tuple[list[Tensor], list[Tensor]]:
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
    return [first] * before, [last] * after


def _axes(pad: Sequence[int]) -> list[tuple[int, int, int]]:
    """Axis from the end, and elements before and after, of every axis that is padded."""
    pairs = [(-1 - i // 2, pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return [(axis, before, after) for axis, before, after in pairs if before or after]


def _rule(mode: str, ends: _Ends, known_axes: int, reason: str) -> Rule:
    """Make the rule of a mode that the target knows for so many of the last axes."""

    def padded(x: Tensor, pad: Sequence[int], *_: object) -> Tensor:
        for axis, before, after in _axes(pad):
            head, tail = ends(x, axis, before, after)
            parts = [*(head if before else []), x, *(tail if after else [])]
            x = torch.cat(parts, dim=axis)
        return x

    def applies(x: Tensor, pad: Sequence[int], given: str = "constant", *_: object) -> bool:
        beyond = any(axis < -known_axes for axis, _, _ in _axes(pad))
        return given == mode and beyond and all(side >= 0 for side in pad)

    return Rule(frozenset({"aten.pad.default"}), frozenset({"coreml"}), reason, padded, applies)


def _cropped(x: Tensor, pad: Sequence[int], *rest: object) -> Tensor:
    """Crop where the padding is negative, then pad the other sides."""
    for axis, before, after in _axes(pad):
        begin, end = max(0, -before), max(0, -after)
        if begin or end:
            x = x.narrow(axis, begin, x.shape[axis] - begin - end)
    kept = [max(0, side) for side in pad]
    return torch.ops.aten.pad(x, kept, *rest) if any(kept) else x


def _crops(x: Tensor, pad: Sequence[int], given: str = "constant", *_: object) -> bool:
    return given == "constant" and any(side < 0 for side in pad)


RULES = (
    Rule(
        frozenset({"aten.pad.default"}),
        frozenset({"coreml", "executorch"}),
        "the target pads, and does not crop",
        _cropped,
        _crops,
    ),
    _rule("circular", _circular, 0, "Core ML pads by constants, reflection and replication only"),
    _rule("reflect", _reflected, 2, "Core ML reflects the last two axes only"),
    _rule("replicate", _replicated, 2, "Core ML replicates the last two axes only"),
)
