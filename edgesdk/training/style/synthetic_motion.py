"""Synthetic motion: make a second frame from a photograph, with the exact flow between them.

A network that paints a moved photograph as the moved painting does not flicker. Ruder et al., GCPR
2016, take pairs of frames from clips; Eilertsen, Mantiuk and Unger, CVPR 2019, make the second
frame from the first, so that any folder of photographs suffices and the flow is exact.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from edgesdk.training.counter_random import key

__all__ = ["flows", "second_frames", "warp"]

#: Largest motions between two frames: shift as a share of the side, rotation in radians, and zoom.
_SHIFT, _TURN, _ZOOM = 0.04, 0.05, 0.05
#: Standard deviation of the second frame's noise, for pictures of 0..1.
_NOISE = 2 / 255


def flows(count: int, height: int, width: int, seed: int, turn: int) -> tuple[torch.Tensor, ...]:
    """Draw random camera motions: shifts, rotations and zooms.

    Args:
        count: Number of motions.
        height: Height in pixels.
        width: Width in pixels.
        seed: Seed of the run.
        turn: Number of the draw; the same number gives the same motions.

    Returns:
        The flow from the second frame to the first, ``[count, 2, height, width]``, (x, y) in
        pixels; and a mask ``[count, 1, height, width]``, 1 for pixels that lie within the first
        frame, else 0.
    """
    random = np.random.default_rng(key(seed, "motion", turn))
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float32) - (height - 1) / 2,
        torch.arange(width, dtype=torch.float32) - (width - 1) / 2,
        indexing="ij",
    )
    each = []
    for _ in range(count):
        angle = random.uniform(-_TURN, _TURN)
        zoom = 1 + random.uniform(-_ZOOM, _ZOOM)
        right, down = random.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
        cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
        x = cosine * columns - sine * rows + right
        y = sine * columns + cosine * rows + down
        each.append(torch.stack((x - columns, y - rows)))
    flow = torch.stack(each)
    x = flow[:, :1] + columns + (width - 1) / 2
    y = flow[:, 1:] + rows + (height - 1) / 2
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return flow, inside.float()


def warp(pictures: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Warp pictures by a flow, with bilinear sampling.

    Args:
        pictures: ``[N, C, H, W]``.
        flow: ``[N, 2, H, W]``, (x, y) offset in pixels of each pixel's source.

    Returns:
        ``[N, C, H, W]``; sources beyond the border take the border's pixels.
    """
    height, width = pictures.shape[2:]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)
    # align_corners=False puts pixel centres at -1 + 1/W .. 1 - 1/W.
    x = (2 * (columns + flow[:, 0]) + 1) / width - 1
    y = (2 * (rows[:, None] + flow[:, 1]) + 1) / height - 1
    grid = torch.stack((x, y), dim=-1).to(pictures.dtype)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def second_frames(pictures: torch.Tensor, flow: torch.Tensor, seed: int, turn: int) -> torch.Tensor:
    """Make second frames: pictures warped by a flow, with fresh camera noise.

    Args:
        pictures: ``[N, C, H, W]``, 0..1.
        flow: Flow of :func:`flows`.
        seed: Seed of the run.
        turn: Number of the draw; another number gives other noise.

    Returns:
        ``[N, C, H, W]``, 0..1.
    """
    random = torch.Generator().manual_seed(key(seed, "noise", turn))
    noise = torch.randn(pictures.shape, generator=random).to(pictures)
    return (warp(pictures, flow) + _NOISE * noise).clamp(0, 1)
