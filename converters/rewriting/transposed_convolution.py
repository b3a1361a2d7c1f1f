"""Transposed convolutions in forms that LiteRT lacks or computes wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.converters.rewriting.arguments import per_axis
from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]

_CALLS = {1: "conv_transpose1d", 2: "conv_transpose2d", 3: "conv_transpose3d"}


def _full(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Compute without padding in one group, then crop or extend each axis.

    The kernel is spread by the dilation, groups lie in a block-diagonal kernel, and a single
    output channel gets a silent neighbour, because LiteRT's kernel takes none of these.
    """
    axes = x.dim() - 2
    strides, pads = per_axis(stride, axes, 1), per_axis(padding, axes, 0)
    more, steps = per_axis(output_padding, axes, 0), per_axis(dilation, axes, 1)
    channels = weight.shape[1] * groups
    kernel = _spread(_dense(weight, groups), steps)
    if channels == 1:
        kernel = torch.cat([kernel, torch.zeros_like(kernel)], dim=1)
    answer = getattr(functional, _CALLS[axes])(x, kernel, None, strides)
    if channels == 1:
        answer = answer.narrow(1, 0, 1)
    for axis in range(axes):
        extent = (weight.shape[2 + axis] - 1) * steps[axis] + 1
        size = (x.shape[2 + axis] - 1) * strides[axis] - 2 * pads[axis] + extent + more[axis]
        missing = pads[axis] + size - answer.shape[2 + axis]
        if missing > 0:
            behind = [0, 0] * (axes - 1 - axis) + [0, missing]
            answer = functional.pad(answer, behind)
        if pads[axis] or answer.shape[2 + axis] != size:
            answer = answer.narrow(2 + axis, pads[axis], size)
    return answer if bias is None else answer + bias.view(-1, *[1] * axes)


def _dense(weight: Tensor, groups: int) -> Tensor:
    """The block-diagonal kernel of a grouped one, ``[in, out, ...]``."""
    if groups == 1:
        return weight
    rows = []
    width = weight.shape[1]
    for index, part in enumerate(weight.chunk(groups, dim=0)):
        before = [0, 0] * (weight.dim() - 2)
        rows.append(functional.pad(part, [*before, index * width, (groups - 1 - index) * width]))
    return torch.cat(rows, dim=0)


def _spread(weight: Tensor, steps: Sequence[int]) -> Tensor:
    """The kernel of a dilated convolution with zeros between its taps."""
    for axis, step in enumerate(steps):
        size = weight.shape[2 + axis]
        if step == 1 or size == 1:
            continue
        apart = weight.unsqueeze(3 + axis)
        gaps = [0, 0] * (weight.dim() - 3 - axis) + [0, step - 1]
        joined = functional.pad(apart, gaps).flatten(2 + axis, 3 + axis)
        weight = joined.narrow(2 + axis, 0, (size - 1) * step + 1)
    return weight


def _is_uncommon(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> bool:
    axes = x.dim() - 2
    strides, pads = per_axis(stride, axes, 1), per_axis(padding, axes, 0)
    # LiteRT's padding is none at all, or the one that makes every side a multiple of the stride.
    other = any(
        pads[axis] and weight.shape[2 + axis] - 2 * pads[axis] != strides[axis]
        for axis in range(axes)
    )
    depthwise = weight.shape[1] == 1 and groups == x.shape[1]
    return bool(
        (groups > 1 and not depthwise)
        or weight.shape[1] * groups == 1
        or any(per_axis(output_padding, axes, 0))
        or len(set(pads)) > 1
        or other
        or any(step > 1 for step in per_axis(dilation, axes, 1))
    )


def _extends(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    *_: Any,
) -> bool:
    """Return True if the output padding goes beyond what the padding takes away."""
    axes = x.dim() - 2
    pads, more = per_axis(padding, axes, 0), per_axis(output_padding, axes, 0)
    return any(extra > pad for extra, pad in zip(more, pads, strict=True))


_OPERATORS = frozenset(
    {
        "aten.conv_transpose1d.default",
        "aten.conv_transpose2d.input",
    }
)

RULES = (
    Rule(
        _OPERATORS,
        frozenset({"litert"}),
        "LiteRT's transposed convolution has no groups, no dilation and two paddings only",
        _full,
        _is_uncommon,
    ),
    Rule(
        _OPERATORS,
        frozenset({"coreml"}),
        "Core ML pads the output by no more than it crops",
        _full,
        _extends,
    ),
)
