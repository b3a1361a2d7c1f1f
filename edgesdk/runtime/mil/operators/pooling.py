"""Pooling over one, two or three spatial dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator
from edgesdk.runtime.mil.operators.windows import (
    Padding,
    pad_space,
    window_count,
    window_padding,
)

__all__: list[str] = []

_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMUM = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _layout(
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...],
    pad_type: str,
    pad: tuple[int, ...] | None,
    ceil_mode: bool,
) -> tuple[Padding, Padding]:
    """Return the declared padding, and the overhang of the last windows in ceil mode."""
    sizes = x.shape[2:]
    declared = window_padding(pad_type, pad, sizes, kernel_sizes, strides)
    beyond = []
    for size, kernel, stride, padding in zip(sizes, kernel_sizes, strides, declared, strict=True):
        count = window_count(size, kernel, stride, padding, ceil_mode)
        reach = (count - 1) * stride + kernel
        beyond.append((0, max(0, reach - size - sum(padding))))
    return declared, beyond


def _window_sums(x: Tensor, kernel_sizes: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    return _AVERAGE[x.dim() - 2](x, kernel_sizes, strides) * math.prod(kernel_sizes)


@operator("avg_pool")
def _avg_pool(
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...],
    pad_type: str,
    ceil_mode: bool,
    exclude_padding_from_average: bool,
    pad: tuple[int, ...] | None = None,
) -> Tensor:
    declared, beyond = _layout(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    padded = pad_space(x, declared)
    average = _AVERAGE[x.dim() - 2]
    if padded is x and not any(after for _, after in beyond):
        return average(x, kernel_sizes, strides)
    # Elements counted in the divisor are one, others zero: the overhang of ceil mode never counts.
    if exclude_padding_from_average:
        counted = pad_space(torch.ones_like(x[:1, :1]), declared)
    else:
        counted = torch.ones_like(padded[:1, :1])
    sums = _window_sums(pad_space(padded, beyond), kernel_sizes, strides)
    counts = _window_sums(pad_space(counted, beyond), kernel_sizes, strides)
    return sums / torch.clamp(torch.round(counts), min=1.0)


def _register(op_type: str, pool: Callable[..., Tensor], outside: float) -> None:
    """Register a pooling to which all padding has the value ``outside``."""

    @operator(op_type)
    def _pool(
        x: Tensor,
        kernel_sizes: tuple[int, ...],
        strides: tuple[int, ...],
        pad_type: str,
        ceil_mode: bool,
        pad: tuple[int, ...] | None = None,
    ) -> Tensor:
        declared, beyond = _layout(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
        padded = pad_space(pad_space(x, declared, outside), beyond, outside)
        return pool(padded, kernel_sizes, strides)


_register("max_pool", lambda x, *window: _MAXIMUM[x.dim() - 2](x, *window), -math.inf)
_register("l2_pool", lambda x, *window: torch.sqrt(_window_sums(torch.square(x), *window)), 0.0)
