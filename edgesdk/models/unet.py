"""U-Net, small.

Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015; padded convolutions and batch normalisation, so that the mask has the
size of the image.
"""

from __future__ import annotations

import torch
from torch import nn

from edgesdk.models.architecture import check_lengths, check_width, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.layers import convolutions

__all__ = ["UNet"]


class UNet(nn.Module):
    """Encoder and decoder with a concatenating skip at every level.

    Args:
        encoder_widths: Channels of the convolutions of each level, from the full size down.
        up_widths: Channels of each transposed convolution, from the smallest size up; one
            fewer than levels. Default the last width of the next level.
        decoder_widths: Channels of the convolutions behind each skip, from the smallest size
            up. Default those of the encoder's level.
        num_classes: Channels of the mask.
        in_channels: Channels of the image.

    Raises:
        UsageError: Lists of different lengths, or a width that is not a positive whole number.
    """

    def __init__(
        self,
        encoder_widths: list[list[int]] | None = None,
        up_widths: list[int] | None = None,
        decoder_widths: list[list[int]] | None = None,
        num_classes: int = 2,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        encoder_widths = encoder_widths or [[16, 16], [32, 32], [64, 64], [128, 128]]
        check_width("encoder_widths", encoder_widths)
        mirrored = encoder_widths[-2::-1]
        up_widths = up_widths or [level[-1] for level in mirrored]
        decoder_widths = decoder_widths or mirrored
        check_lengths(len(mirrored), up_widths=up_widths, decoder_widths=decoder_widths)
        self.config = checked_config(UNet, locals())

        self.encoder = nn.ModuleList()
        width = in_channels
        for level in encoder_widths:
            self.encoder.append(convolutions(width, level))
            width = level[-1]
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for up, level, skip in zip(up_widths, decoder_widths, mirrored, strict=True):
            self.ups.append(nn.ConvTranspose2d(width, up, 2, stride=2))
            self.decoder.append(convolutions(up + skip[-1], level))
            width = level[-1]
        self.classifier = nn.Conv2d(width, num_classes, 1)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to mask logits ``[N, num_classes, H, W]``.

        H and W are multiples of 8 with the default four levels.
        """
        skips = []
        for index, level in enumerate(self.encoder):
            x = level(self.pool(x) if index else x)
            skips.append(x)
        skips.pop()
        for up, level in zip(self.ups, self.decoder, strict=True):
            x = level(torch.cat([skips.pop(), up(x)], dim=1))
        return self.classifier(x)
