"""Area and cubic resampling by matrices that converters support, and the guide of a frame."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch.nn import functional

__all__ = [
    "GUIDE_CHANNELS",
    "area_matrix",
    "cubic_matrix",
    "guide_of",
    "resample",
    "resized",
]

#: Weights of red, green and blue in the luminance (ITU-R BT.601).
_LUMINANCE = (0.299, 0.587, 0.114)
#: Channels of the guide: the frame's colours and the strength of its gradients, across and down.
GUIDE_CHANNELS = 5


def guide_of(original: torch.Tensor) -> torch.Tensor:
    """Compute the guide of a frame: its colours and the strength of its luminance gradients.

    Args:
        original: ``[N, 3, H, W]``, RGB.

    Returns:
        ``[N, 5, H, W]``: the colours, then the absolute differences of the luminance to the next
        column and to the next row; 0 at the far edges.
    """
    red, green, blue = (original.narrow(1, colour, 1) for colour in range(3))
    luminance = _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue
    parts = [original]
    for axis in (3, 2):
        last = luminance.shape[axis] - 1
        # Repeat the last row or column, so that the gradient at the edge is 0.
        following = [luminance.narrow(axis, 1, last), luminance.narrow(axis, last, 1)]
        parts.append((torch.cat(following, dim=axis) - luminance).abs())
    return torch.cat(parts, dim=1)


@cache
def area_matrix(full: int, small: int) -> torch.Tensor:
    """Weights of ``full`` pixels in each of ``small`` larger ones, ``[small, full]``.

    Rows sum to 1. A pixel that overlaps two larger ones contributes to both by its overlap.
    """
    # Exact integers up to here: edges of both grids in units of 1 / (full * small).
    fine = torch.arange(full)[None] * small
    coarse = torch.arange(small)[:, None] * full
    overlap = torch.minimum(fine + small, coarse + full) - torch.maximum(fine, coarse)
    return overlap.clamp_min(0).float() / full


@cache
def cubic_matrix(small: int, full: int) -> torch.Tensor:
    """Weights of ``small`` pixels in ``full`` smaller ones, ``[full, small]``; rows sum to 1.

    Cubic convolution through pixel centres (Keys 1981, a = -1/2), edges repeated.
    """
    place = (torch.arange(full, dtype=torch.float64) + 0.5) * small / full - 0.5
    below = place.floor()
    matrix = torch.zeros(full, small, dtype=torch.float64)
    for step in range(-1, 3):
        far = (place - below - step).abs()
        near = (1.5 * far - 2.5) * far * far + 1
        beyond = ((-0.5 * far + 2.5) * far - 4) * far + 2
        share = torch.where(far <= 1, near, torch.where(far < 2, beyond, 0.0))
        pixel = (below + step).long().clamp(0, small - 1)
        matrix.scatter_add_(1, pixel[:, None], share[:, None])
    return matrix.float()


def resample(
    x: torch.Tensor, size: tuple[int, int], matrix: Callable[[int, int], torch.Tensor]
) -> torch.Tensor:
    """Resample ``[N, C, h, w]`` to ``size`` by the matrix of each axis."""
    down, across = (matrix(x.shape[2 + k], size[k]).to(x) for k in range(2))
    return down @ (x @ across.T)


def resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize ``[N, C, h, w]`` to ``size`` by bilinear interpolation."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
