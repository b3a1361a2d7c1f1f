"""Fold (``col2im``) as a transposed convolution with an identity kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


def _identity(
    x: Tensor,
    size: Sequence[int],
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> tuple[Tensor, ...]:
    """The kernel ``[C * kh * kw, C, kh, kw]`` that puts each value in its place."""
    taps = kernel[0] * kernel[1]
    channels = int(x.shape[-2]) // taps
    return (torch.eye(channels * taps).view(channels * taps, channels, *kernel),)


def _fold(
    x: Tensor,
    size: Sequence[int],
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
    *,
    constants: tuple[Tensor, ...],
) -> Tensor:
    reach = [dilation[i] * (kernel[i] - 1) + 1 for i in range(2)]
    blocks = [(size[i] + 2 * padding[i] - reach[i]) // stride[i] + 1 for i in range(2)]
    more = [size[i] - ((blocks[i] - 1) * stride[i] - 2 * padding[i] + reach[i]) for i in range(2)]
    columns = x.reshape(x.shape[0], x.shape[1], *blocks)
    return functional.conv_transpose2d(
        columns, constants[0], None, list(stride), list(padding), more, 1, list(dilation)
    )


def _is_batched(x: Tensor, size: Sequence[int], *_: Sequence[int]) -> bool:
    return x.dim() == 3 and all(isinstance(side, int) for side in (*x.shape[1:], *size))


RULES = (
    Rule(
        frozenset({"aten.col2im.default", "aten.im2col_backward.default"}),
        frozenset({"coreml", "executorch", "litert"}),
        "the target has no fold",
        _fold,
        _is_batched,
        _identity,
    ),
)
