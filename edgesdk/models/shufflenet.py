"""ShuffleNetV2.

Ma, Zhang, Zheng and Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture
Design", ECCV 2018.
"""

from __future__ import annotations

import torch
from torch import nn

from edgesdk.models.architecture import check_lengths, check_multiple, check_width, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.layers import ConvNormAct

__all__ = ["ShuffleNetV2", "ShuffleUnit", "channel_shuffle"]


def channel_shuffle(x: torch.Tensor) -> torch.Tensor:
    """Interleave the two halves of the channels of ``[N, C, H, W]``; C is even."""
    batch, width, height, columns = x.shape
    halves = x.reshape(batch, 2, width // 2, height, columns)
    return halves.transpose(1, 2).reshape(batch, width, height, columns)


class ShuffleUnit(nn.Module):
    """ShuffleNetV2 unit: stride 1 passes half the channels through, stride 2 computes both halves.

    Args:
        in_width: Input channels; equal to ``width`` with stride 1.
        inner_width: Channels of the depthwise convolution in the main branch.
        width: Output channels, even.
        stride: 1 or 2.
    """

    def __init__(self, in_width: int, inner_width: int, width: int, stride: int) -> None:
        super().__init__()
        half = width // 2
        self.stride = stride
        self.branch = nn.Sequential(
            ConvNormAct(in_width if stride > 1 else half, inner_width),
            ConvNormAct(
                inner_width, inner_width, 3, stride=stride, groups=inner_width, activation="linear"
            ),
            ConvNormAct(inner_width, half),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(
                ConvNormAct(
                    in_width, in_width, 3, stride=stride, groups=in_width, activation="linear"
                ),
                ConvNormAct(in_width, half),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, in_width, H, W]`` to ``[N, width, H / stride, W / stride]``."""
        passed, worked = x, x
        if self.stride == 1:
            # Slices, because mobile delegates do not support a split.
            half = x.shape[1] // 2
            passed, worked = x.narrow(1, 0, half), x.narrow(1, half, half)
        return channel_shuffle(torch.cat([self.shortcut(passed), self.branch(worked)], dim=1))


class ShuffleNetV2(nn.Module):
    """Three stages of units that split, convolve, concatenate and shuffle channels.

    Args:
        depths: Units of each stage.
        stem_width: Channels of the stem.
        widths: Channels of each stage, even; default the 1.0x network.
        inner_widths: Channels of the depthwise convolution of every unit, one list per stage;
            default half the stage's width.
        head_width: Channels of the last 1x1 convolution.
        num_classes: Classes.
        in_channels: Channels of the image.

    Raises:
        UsageError: Lists of different lengths, an odd stage, or a width that is not a positive
            whole number.
    """

    def __init__(
        self,
        depths: list[int] | None = None,
        stem_width: int = 24,
        widths: list[int] | None = None,
        inner_widths: list[list[int]] | None = None,
        head_width: int = 1024,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        depths = depths or [4, 8, 4]
        widths = widths or [116, 232, 464]
        check_width("depths", depths)
        check_lengths(len(depths), widths=widths)
        check_width("widths", widths)
        for index, width in enumerate(widths):
            check_multiple(f"widths[{index}]", width, 2)
        inner_widths = inner_widths or [
            [width // 2] * depth for width, depth in zip(widths, depths, strict=True)
        ]
        check_lengths(len(depths), inner_widths=inner_widths)
        self.config = checked_config(ShuffleNetV2, locals())

        self.stem = ConvNormAct(in_channels, stem_width, 3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        previous = stem_width
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            inner = inner_widths[index]
            check_lengths(depth, **{f"inner_widths[{index}]": inner})
            units = []
            for position, inner_width in enumerate(inner):
                units.append(ShuffleUnit(previous, inner_width, width, 1 if position else 2))
                previous = width
            self.stages.append(nn.Sequential(*units))
        self.head = ConvNormAct(previous, head_width)
        self.classifier = nn.Linear(head_width, num_classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        x = self.pool(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        return self.classifier(self.head(x).mean((2, 3), keepdim=True).flatten(1))
