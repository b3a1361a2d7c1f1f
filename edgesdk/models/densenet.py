"""Densely connected networks, bottleneck and compression form (DenseNet-BC).

Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks",
CVPR 2017. Each layer concatenates its output to its input.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgesdk.models.architecture import check_choice, check_lengths, check_width, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.layers import ConvNormAct

__all__ = ["DenseNet"]


class _NormActConv(nn.Module):
    """Batch normalisation, ReLU, convolution without bias."""

    def __init__(self, in_width: int, width: int, kernel_size: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_width)
        self.conv = nn.Conv2d(in_width, width, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.relu(self.norm(x)))


class _DenseLayer(nn.Module):
    """Concatenate ``growth_width`` new channels to the input."""

    def __init__(self, in_width: int, bottleneck_width: int, growth_width: int) -> None:
        super().__init__()
        self.reduce = _NormActConv(in_width, bottleneck_width)
        self.grow = _NormActConv(bottleneck_width, growth_width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.grow(self.reduce(x))], dim=1)


class DenseNet(nn.Module):
    """Dense blocks with 1x1 transitions that compress and halve the image.

    Args:
        depths: Layers of each dense block.
        growth: Channels each layer adds, unless ``growth_widths`` is given.
        stem: ``imagenet`` (7x7 with stride 2, pooling) or ``cifar`` (3x3).
        stem_width: Channels of the stem; default twice the growth.
        growth_widths: Channels each layer adds, one list per block.
        bottleneck_widths: Channels between the two convolutions of each layer, one list per
            block; default four times the channels the layer adds.
        transition_widths: Channels behind each transition, one fewer than blocks; default half
            of its input channels.
        num_classes: Classes.
        in_channels: Channels of the image.

    Raises:
        UsageError: Lists of different lengths, or a width that is not a positive whole number.
    """

    def __init__(
        self,
        depths: list[int] | None = None,
        growth: int = 32,
        stem: str = "imagenet",
        stem_width: int | None = None,
        growth_widths: list[list[int]] | None = None,
        bottleneck_widths: list[list[int]] | None = None,
        transition_widths: list[int] | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        depths = list(depths or [6, 12, 24, 16])
        check_width("depths", depths)
        check_width("growth", growth)
        stem_width = 2 * growth if stem_width is None else stem_width
        growth_widths = growth_widths or [[growth] * depth for depth in depths]
        check_width("growth_widths", growth_widths)
        bottleneck_widths = bottleneck_widths or [
            [4 * width for width in block] for block in growth_widths
        ]
        check_lengths(len(depths), growth_widths=growth_widths, bottleneck_widths=bottleneck_widths)
        if transition_widths is None:
            transition_widths, width = [], stem_width
            for block in growth_widths[:-1]:
                width = (width + sum(block)) // 2
                transition_widths.append(width)
        check_lengths(len(depths) - 1, transition_widths=transition_widths)
        check_choice("stem", stem, ("imagenet", "cifar"))
        self.config = checked_config(DenseNet, locals())

        if stem == "imagenet":
            self.stem: nn.Module = nn.Sequential(
                ConvNormAct(in_channels, stem_width, 7, stride=2),
                nn.MaxPool2d(3, stride=2, padding=1),
            )
        else:
            self.stem = nn.Conv2d(in_channels, stem_width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        width = stem_width
        for index, (grown, reduced) in enumerate(
            zip(growth_widths, bottleneck_widths, strict=True)
        ):
            key = f"growth_widths[{index}]"
            check_lengths(
                depths[index], **{key: grown, key.replace("growth", "bottleneck"): reduced}
            )
            layers = []
            for growth_width, bottleneck_width in zip(grown, reduced, strict=True):
                layers.append(_DenseLayer(width, bottleneck_width, growth_width))
                width += growth_width
            self.blocks.append(nn.Sequential(*layers))
            if index < len(transition_widths):
                self.transitions.append(_NormActConv(width, transition_widths[index]))
                width = transition_widths[index]
        self.pool = nn.AvgPool2d(2)
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, num_classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index < len(self.transitions):
                x = self.pool(self.transitions[index](x))
        x = functional.relu(self.norm(x))
        return self.classifier(x.mean((2, 3), keepdim=True).flatten(1))
