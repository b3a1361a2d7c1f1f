"""Padding and number of sliding windows, for convolutions and pooling.

MIL has four padding types.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Padding", "pad_space", "window_count", "window_padding"]

Padding = list[tuple[int, int]]


def window_padding(
    pad_type: str,
    pad: Sequence[int] | None,
    sizes: Sequence[int],
    extents: Sequence[int],
    strides: Sequence[int],
) -> Padding:
    """Compute the padding before and after each spatial dimension.

    Args:
        pad_type: ``valid``, ``same``, ``same_lower`` or ``custom``.
        pad: Padding before and after each dimension, for ``custom``.
        sizes: Spatial sizes of the input.
        extents: Size of the window, dilation included.
        strides: Strides of the window.

    Raises:
        ValueError: ``pad_type`` is unknown.
    """
    kind = pad_type.lower()
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "custom":
        given = pad or [0] * (2 * len(sizes))
        return [(given[2 * axis], given[2 * axis + 1]) for axis in range(len(sizes))]
    if kind not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type {pad_type!r}")
    padding = []
    for size, extent, stride in zip(sizes, extents, strides, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + extent - size)
        less, more = total // 2, total - total // 2
        padding.append((less, more) if kind == "same" else (more, less))
    return padding


def window_count(
    size: int, extent: int, stride: int, padding: tuple[int, int], ceil_mode: bool
) -> int:
    """Count the windows that fit along one dimension."""
    before, after = padding
    room = size + before + after - extent
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    # A last window that would start in the padding after the input is omitted.
    if ceil_mode and (before or after) and (count - 1) * stride >= size + before:
        count -= 1
    return count


def pad_space(x: Tensor, padding: Padding, value: float = 0.0) -> Tensor:
    """Pad the last ``len(padding)`` dimensions of ``x`` with ``value``."""
    if not any(before or after for before, after in padding):
        return x
    # torch counts dimensions from the last one.
    flat = [amount for pair in reversed(padding) for amount in pair]
    return F.pad(x, flat, value=value)
