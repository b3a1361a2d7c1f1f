"""Wrap a multi-style network as a painter for training and the video engine."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.training.style.paintings import as_tensor
from edgesdk.video.frames import Painter

__all__ = ["network_painter"]

_STEP = 8


def network_painter(network: MultiStyleNet, shares: torch.Tensor) -> Painter:
    """Return a painter for one style or blend.

    Args:
        network: Network in evaluation mode.
        shares: Weight of each style, ``[styles]``; they sum to 1.

    Returns:
        A function from ``uint8 [H, W, 3]`` to the same. It pads sides to multiples of 8 by
        repeating edge pixels, and crops the result.
    """
    style = shares[None, :, None, None]

    def paint(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = picture.shape[:2]
        beyond = ((0, -height % _STEP), (0, -width % _STEP), (0, 0))
        with torch.no_grad():
            painted = network(as_tensor(np.pad(picture, beyond, mode="edge")), style)[0]
        pixels = (255 * painted[:, :height, :width].permute(1, 2, 0)).round().to(torch.uint8)
        return np.ascontiguousarray(pixels.numpy())

    return paint
