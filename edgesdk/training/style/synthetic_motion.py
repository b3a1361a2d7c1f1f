"""Made motions: a photograph and the same photograph a moment later, with the flow between them.

A network that answers a moved photograph with the moved painting does not flicker. After Ruder et
al., GCPR 2016, whose pairs are frames of clips, and Eilertsen, Mantiuk and Unger, CVPR 2019, who
make the second frame from the first: any folder of photographs will do, and the flow is exact.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from edgesdk.training.counter_random import key

__all__ = ["carried", "flows", "moved"]

#: Largest motions between two frames: a share of the side, radians, and a share of the scale.
_SHIFT, _TURN, _ZOOM = 0.04, 0.05, 0.05
#: Deviation of the second frame's noise, of 0..1.
_NOISE = 2 / 255


def flows(count: int, height: int, width: int, seed: int, turn: int) -> tuple[torch.Tensor, ...]:
    """Random motions of a camera: shifts, turns and zooms.

    Args:
        count: How many.
        height: In pixels.
        width: In pixels.
        seed: Of the run.
        turn: Another turn gives other motions; the same one the same.

    Returns:
        Where each pixel of the second frame lies in the first, ``[count, 2, height, width]``, (x,
        y) in pixels relative to its own place; and whether that is within it, ``[count, 1, height,
        width]``, 1 or 0.
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


def carried(pictures: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """What a flow makes of pictures: each pixel is taken from where the flow says it lies.

    Args:
        pictures: ``[N, C, H, W]``.
        flow: ``[N, 2, H, W]``, (x, y) in pixels relative to each pixel's own place.

    Returns:
        ``[N, C, H, W]``; beyond the border, the border's pixels.
    """
    height, width = pictures.shape[2:]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)
    # Pixel centres at -1 + 1/W .. 1 - 1/W, which is what align_corners=False reads.
    x = (2 * (columns + flow[:, 0]) + 1) / width - 1
    y = (2 * (rows[:, None] + flow[:, 1]) + 1) / height - 1
    grid = torch.stack((x, y), dim=-1).to(pictures.dtype)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def moved(pictures: torch.Tensor, flow: torch.Tensor, seed: int, turn: int) -> torch.Tensor:
    """Second frames: pictures carried along a flow, with a camera's noise of their own.

    Args:
        pictures: ``[N, C, H, W]``, 0..1.
        flow: Of :func:`flows`.
        seed: Of the run.
        turn: Another turn has other noise.

    Returns:
        ``[N, C, H, W]``, 0..1.
    """
    random = torch.Generator().manual_seed(key(seed, "noise", turn))
    noise = torch.randn(pictures.shape, generator=random).to(pictures)
    return (carried(pictures, flow) + _NOISE * noise).clamp(0, 1)
