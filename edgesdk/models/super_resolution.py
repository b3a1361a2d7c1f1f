"""Efficient sub-pixel convolution.

Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016.
"""

from __future__ import annotations

import torch
from torch import nn

from edgesdk.models.architecture import check_choice, check_lengths, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.layers import ACTIVATIONS

__all__ = ["SubPixelNet"]


class SubPixelNet(nn.Module):
    """Convolutions at the small size, then a pixel shuffle to the large one.

    Args:
        scale: Factor in both directions.
        widths: Channels of the 5x5 and of the 3x3 convolution in front of the last one.
        activation: ``tanh`` as published, or ``relu``.
        channels: Channels of the image, in and out; the paper upscales luminance only.

    Raises:
        UsageError: Not two widths, or a width or scale that is not a positive whole number.
    """

    def __init__(
        self,
        scale: int = 3,
        widths: list[int] | None = None,
        activation: str = "tanh",
        channels: int = 1,
    ) -> None:
        super().__init__()
        widths = widths or [64, 32]
        check_lengths(2, widths=widths)
        self.config = checked_config(SubPixelNet, locals())
        check_choice("activation", activation, ("tanh", "relu"))

        first, second = widths
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, 5, padding=2),
            ACTIVATIONS[activation](),
            nn.Conv2d(first, second, 3, padding=1),
            ACTIVATIONS[activation](),
        )
        self.sub_pixels = nn.Conv2d(second, channels * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, channels, H, W]`` in 0..1 to ``[N, channels, scale * H, scale * W]``."""
        return self.shuffle(self.sub_pixels(self.features(x)))
