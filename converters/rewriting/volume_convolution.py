"""Convolutions of volumes as convolutions of pictures, one for each tap along the depth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.converters.rewriting.arguments import per_axis
from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


def _pictures(x: Tensor) -> Tensor:
    """The frames ``[n * d, c, h, w]`` of volumes ``[n, c, d, h, w]``."""
    n, c, d, h, w = x.shape
    return x.transpose(1, 2).reshape(n * d, c, h, w)


def _volumes(frames: Tensor, n: int) -> Tensor:
    nd, c, h, w = frames.shape
    return frames.reshape(n, nd // n, c, h, w).transpose(1, 2)


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    strides, pads, steps = (
        per_axis(stride, 3, 1),
        per_axis(padding, 3, 0),
        per_axis(dilation, 3, 1),
    )
    taps = int(weight.shape[2])
    x = _extended(x, pads[0], pads[0])
    count = (int(x.shape[2]) - steps[0] * (taps - 1) - 1) // strides[0] + 1
    answer: Tensor | None = None
    for tap in range(taps):
        frames = x.narrow(2, tap * steps[0], (count - 1) * strides[0] + 1)
        if strides[0] > 1:
            frames = frames[:, :, :: strides[0]]
        part = functional.conv2d(
            _pictures(frames),
            weight.select(2, tap),
            bias if tap == 0 else None,
            strides[1:],
            pads[1:],
            steps[1:],
            groups,
        )
        answer = part if answer is None else answer + part
    assert answer is not None
    return _volumes(answer, int(x.shape[0]))


def _enlarged(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    strides, pads = per_axis(stride, 3, 1), per_axis(padding, 3, 0)
    more, steps = per_axis(output_padding, 3, 0), per_axis(dilation, 3, 1)
    taps, n = int(weight.shape[2]), int(x.shape[0])
    reach = steps[0] * (taps - 1)
    answer: Tensor | None = None
    for tap in range(taps):
        part = functional.conv_transpose2d(
            _pictures(x),
            weight.select(2, tap),
            None,
            strides[1:],
            pads[1:],
            more[1:],
            groups,
            steps[1:],
        )
        placed = _apart(_volumes(part, n), strides[0])
        placed = _extended(placed, tap * steps[0], reach - tap * steps[0] + more[0])
        answer = placed if answer is None else answer + placed
    assert answer is not None
    answer = answer.narrow(2, pads[0], int(answer.shape[2]) - 2 * pads[0])
    return answer if bias is None else answer + bias.view(-1, 1, 1, 1)


def _extended(x: Tensor, before: int, after: int) -> Tensor:
    """Volumes with frames of zeros before and after."""
    n, c, _, h, w = x.shape
    parts = [x.new_zeros(n, c, before, h, w), x, x.new_zeros(n, c, after, h, w)]
    return torch.cat([part for part in parts if part.shape[2]], dim=2)


def _apart(x: Tensor, step: int) -> Tensor:
    """Volumes with ``step - 1`` frames of zeros between two frames."""
    if step == 1:
        return x
    n, c, d, h, w = x.shape
    frames = x.reshape(n * c, d, 1, h * w)
    spread = torch.cat([frames, frames.new_zeros(n * c, d, step - 1, h * w)], dim=2)
    return spread.reshape(n, c, d * step, h, w).narrow(2, 0, (d - 1) * step + 1)


def _is_fixed(x: Tensor, *_: Any, **__: Any) -> bool:
    return x.dim() == 5 and all(isinstance(size, int) for size in x.shape)


def _is_spread_or_grouped(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    uncommon = groups > 1 or any(step > 1 for step in per_axis(dilation, 3, 1))
    return uncommon and _is_fixed(x)


_REASON = "ExecuTorch convolves pictures and sequences only"

RULES = (
    Rule(
        frozenset({"aten.conv3d.default"}),
        frozenset({"executorch"}),
        _REASON,
        _convolved,
        _is_fixed,
    ),
    Rule(
        frozenset({"aten.conv_transpose3d.input"}),
        frozenset({"executorch"}),
        _REASON,
        _enlarged,
        _is_fixed,
    ),
    Rule(
        frozenset({"aten.conv3d.default"}),
        frozenset({"litert"}),
        "LiteRT convolves volumes in one group and without dilation",
        _convolved,
        _is_spread_or_grouped,
    ),
    Rule(
        frozenset({"aten.conv_transpose3d.input"}),
        frozenset({"litert"}),
        "LiteRT has no transposed convolution of volumes",
        _enlarged,
        _is_fixed,
    ),
)
