"""VGG with batch normalisation.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015, in the form used for small images: convolutions without bias, batch normalisation,
global average pooling instead of the 4096-wide layers.
"""

from __future__ import annotations

import torch
from torch import nn

from edgesdk.models.architecture import checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.layers import convolutions

__all__ = ["VGG"]

_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    """Stages of 3x3 convolutions, halving the image between stages.

    Args:
        widths: Output channels of every convolution, one list per stage; default VGG-16.
        head_widths: Features of the hidden linear layers of the classifier, each followed by
            batch normalisation and ReLU.
        num_classes: Classes.
        in_channels: Channels of the image.
        dropout: Probability of dropping a feature in front of the last layer.

    Raises:
        UsageError: A width is not a positive whole number.
    """

    def __init__(
        self,
        widths: list[list[int]] | None = None,
        head_widths: list[int] | None = None,
        num_classes: int = 10,
        in_channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [list(stage) for stage in (widths or _VGG16)]
        head_widths = list(head_widths or [])
        self.config = checked_config(VGG, locals())

        self.stages = nn.ModuleList()
        previous = in_channels
        for stage in widths:
            self.stages.append(convolutions(previous, stage))
            previous = stage[-1]
        self.pool = nn.MaxPool2d(2)
        hidden: list[nn.Module] = []
        for width in head_widths:
            hidden += [nn.Linear(previous, width), nn.BatchNorm1d(width), nn.ReLU()]
            previous = width
        self.hidden = nn.Sequential(*hidden)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(previous, num_classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``.

        Sides are at least 16 pixels with the default five stages.
        """
        for index, stage in enumerate(self.stages):
            x = stage(self.pool(x) if index else x)
        x = x.mean((2, 3), keepdim=True).flatten(1)
        return self.classifier(self.dropout(self.hidden(x)))
