"""Convolution and its transpose, over one, two or three spatial dimensions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator
from edgesdk.runtime.mil.operators.windows import Padding, pad_space, window_padding

__all__: list[str] = []

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONVOLVE_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _extents(weight: Tensor, dilations: tuple[int, ...]) -> list[int]:
    return [
        (size - 1) * dilation + 1
        for size, dilation in zip(weight.shape[2:], dilations, strict=True)
    ]


@operator("conv")
def _conv(
    x: Tensor,
    weight: Tensor,
    strides: tuple[int, ...],
    pad_type: str,
    dilations: tuple[int, ...],
    groups: int,
    pad: tuple[int, ...] | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    extents = _extents(weight, dilations)
    padding = window_padding(pad_type, pad, x.shape[2:], extents, strides)
    symmetric = all(before == after for before, after in padding)
    return _CONVOLVE[x.dim() - 2](
        x if symmetric else pad_space(x, padding),
        weight,
        bias,
        strides,
        tuple(before for before, _ in padding) if symmetric else 0,
        dilations,
        groups,
    )


@operator("conv_transpose")
def _conv_transpose(
    x: Tensor,
    weight: Tensor,
    strides: tuple[int, ...],
    pad_type: str,
    dilations: tuple[int, ...],
    groups: int,
    pad: tuple[int, ...] | None = None,
    output_shape: tuple[int, ...] | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    space = x.dim() - 2
    full = _CONVOLVE_TRANSPOSED[space](
        x, weight, None, strides, padding=0, groups=groups, dilation=dilations
    )
    edges: Padding = []
    for axis, size in enumerate(full.shape[2:]):
        before = after = 0
        if pad_type == "custom" and pad is not None:
            before, after = pad[2 * axis], pad[2 * axis + 1]
        target = size - before - after
        if output_shape is not None:
            target = output_shape[axis + 2]
        elif pad_type == "same":
            target = x.shape[axis + 2] * strides[axis]
        if pad_type == "same":
            before = max(0, size - target) // 2
        # Negative padding crops; output beyond the reach of the windows is the bias alone.
        edges.append((-before, target - (size - before)))
    cropped = pad_space(full, edges)
    return cropped if bias is None else cropped + bias.reshape(-1, *([1] * space))
