"""Convolutions with ``padding="same"``, whose padding is made explicit."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from edgesdk.converters.rewriting.arguments import per_axis
from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]

_CALLS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def _totals(weight: Tensor, dilation: Any) -> list[int]:
    axes = weight.dim() - 2
    steps = per_axis(dilation, axes, 1)
    return [steps[axis] * (int(weight.shape[2 + axis]) - 1) for axis in range(axes)]


def _explicit(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: str = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    axes = weight.dim() - 2
    totals = _totals(weight, dilation) if padding == "same" else [0] * axes
    even = [total // 2 for total in totals]
    behind: list[int] = []
    for total in reversed(totals):
        behind += [0, total % 2]
    padded = functional.pad(x, behind) if any(behind) else x
    return _CALLS[axes](padded, weight, bias, stride, even, dilation, groups)


def _is_uneven(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: str = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    return padding == "same" and any(total % 2 for total in _totals(weight, dilation))


_OPERATORS = frozenset(f"aten.conv{axes}d.padding" for axes in (1, 2, 3))

RULES = (
    Rule(
        _OPERATORS,
        frozenset({"litert"}),
        "LiteRT's converter reads padding as numbers only",
        _explicit,
    ),
    Rule(
        _OPERATORS,
        frozenset({"coreml", "executorch", "onnx"}),
        "an even kernel pads one side more than the other, which the target cannot say",
        _explicit,
        _is_uneven,
    ),
    Rule(
        frozenset({"aten.conv3d.padding"}),
        frozenset({"executorch"}),
        "ExecuTorch convolves pictures and sequences only",
        _explicit,
    ),
)
