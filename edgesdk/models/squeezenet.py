"""SqueezeNet 1.1.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
size", 2016 (arXiv 1602.07360). The authors' version 1.1 needs 2.4 times less arithmetic.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgesdk.models.architecture import check_lengths, checked_config
from edgesdk.models.initialisation import initialise

__all__ = ["Fire", "SqueezeNet"]

_FIRE_WIDTHS = (
    (16, 64, 64),
    (16, 64, 64),
    (32, 128, 128),
    (32, 128, 128),
    (48, 192, 192),
    (48, 192, 192),
    (64, 256, 256),
    (64, 256, 256),
)
#: Fire modules behind a pooling layer.
_POOLED = (0, 2, 4)


class Fire(nn.Module):
    """A 1x1 convolution that squeezes, then 1x1 and 3x3 convolutions side by side.

    Args:
        in_width: Input channels.
        squeeze_width: Channels of the squeezing convolution.
        point_width: Channels of the 1x1 branch.
        area_width: Channels of the 3x3 branch.
    """

    def __init__(
        self, in_width: int, squeeze_width: int, point_width: int, area_width: int
    ) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_width, squeeze_width, 1)
        self.point = nn.Conv2d(squeeze_width, point_width, 1)
        self.area = nn.Conv2d(squeeze_width, area_width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, in_width, H, W]`` to ``[N, point_width + area_width, H, W]``."""
        x = functional.relu(self.squeeze(x))
        return torch.cat([functional.relu(self.point(x)), functional.relu(self.area(x))], dim=1)


class SqueezeNet(nn.Module):
    """Eight fire modules and a convolution as classifier, without normalisation.

    Args:
        stem_width: Channels of the first convolution.
        fire_widths: ``[squeeze, 1x1, 3x3]`` channels of each of the eight fire modules.
        num_classes: Classes.
        in_channels: Channels of the image.
        dropout: Probability of dropping a feature in front of the classifier.

    Raises:
        UsageError: Not eight modules, or a width that is not a positive whole number.
    """

    def __init__(
        self,
        stem_width: int = 64,
        fire_widths: list[list[int]] | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        fire_widths = [list(widths) for widths in (fire_widths or _FIRE_WIDTHS)]
        self.config = checked_config(SqueezeNet, locals())
        check_lengths(len(_FIRE_WIDTHS), fire_widths=fire_widths)
        check_lengths(3, **{f"fire_widths[{i}]": widths for i, widths in enumerate(fire_widths)})

        self.stem = nn.Conv2d(in_channels, stem_width, 3, stride=2)
        # The paper pools with ceil_mode; at 224 pixels every size divides without remainder.
        self.pool = nn.MaxPool2d(3, stride=2)
        self.fires = nn.ModuleList()
        width = stem_width
        for squeeze, point, area in fire_widths:
            self.fires.append(Fire(width, squeeze, point, area))
            width = point + area
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``.

        Sides are at least 35 pixels.
        """
        x = functional.relu(self.stem(x))
        for index, fire in enumerate(self.fires):
            x = fire(self.pool(x) if index in _POOLED else x)
        x = functional.relu(self.classifier(self.dropout(x)))
        return x.mean((2, 3), keepdim=True).flatten(1)
