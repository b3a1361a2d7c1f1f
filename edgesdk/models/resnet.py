"""Residual networks for ImageNet and for CIFAR.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016. The stride of a
bottleneck is in its 3x3 convolution, as in every later implementation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.models.architecture import check_choice, check_lengths, check_width, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.layers import ConvNormAct

__all__ = ["BasicBlock", "BottleneckBlock", "CifarResNet", "PadShortcut", "ResNet"]


class PadShortcut(nn.Module):
    """Shortcut without weights (option A of the paper): every ``stride``-th pixel, zero channels.

    Args:
        in_width: Input channels.
        width: Output channels, at least ``in_width``.
        stride: Step between the kept pixels.

    Raises:
        UsageError: ``width`` is smaller than ``in_width``.
    """

    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        if width < in_width:
            raise UsageError(
                f"a padding shortcut cannot go from {in_width} to {width} channels",
                remedy="let widths grow from stage to stage, or use shortcut='conv'",
            )
        self.stride = stride
        self.before = (width - in_width) // 2
        self.after = width - in_width - self.before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, in_width, H, W]`` to ``[N, width, H / stride, W / stride]``."""
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, self.before, self.after))


class _ResidualBlock(nn.Module):
    """``relu(body(x) + shortcut(x))``."""

    def __init__(self, body: nn.Module, in_width: int, width: int, stride: int, kind: str) -> None:
        super().__init__()
        self.body = body
        if stride == 1 and in_width == width:
            self.shortcut: nn.Module = nn.Identity()
        elif kind == "pad":
            self.shortcut = PadShortcut(in_width, width, stride)
        else:
            self.shortcut = ConvNormAct(in_width, width, stride=stride, activation="linear")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, in_width, H, W]`` to ``[N, width, H / stride, W / stride]``."""
        return functional.relu(self.body(x) + self.shortcut(x))


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions.

    Args:
        in_width: Channels of the residual stream in front of the block.
        inner_width: Channels between the two convolutions.
        width: Channels of the residual stream behind it.
        stride: Stride of the first convolution.
        shortcut: ``conv`` or ``pad``, where the shape changes.
    """

    def __init__(
        self, in_width: int, inner_width: int, width: int, stride: int, shortcut: str = "conv"
    ) -> None:
        body = nn.Sequential(
            ConvNormAct(in_width, inner_width, 3, stride=stride),
            ConvNormAct(inner_width, width, 3, activation="linear"),
        )
        super().__init__(body, in_width, width, stride, shortcut)


class BottleneckBlock(_ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions.

    Args:
        in_width: Channels of the residual stream in front of the block.
        inner_width: Channels behind the first and behind the second convolution.
        width: Channels of the residual stream behind the block.
        stride: Stride of the 3x3 convolution.
        shortcut: ``conv`` or ``pad``, where the shape changes.
    """

    def __init__(
        self, in_width: int, inner_width: list[int], width: int, stride: int, shortcut: str = "conv"
    ) -> None:
        first, second = inner_width
        body = nn.Sequential(
            ConvNormAct(in_width, first),
            ConvNormAct(first, second, 3, stride=stride),
            ConvNormAct(second, width, activation="linear"),
        )
        super().__init__(body, in_width, width, stride, shortcut)


def _stages(
    block: str,
    depths: list[int],
    in_width: int,
    widths: list[int],
    inner_widths: list[list[Any]],
    shortcut: str,
) -> nn.ModuleList:
    """Build one ``Sequential`` per stage; every stage but the first starts with stride 2."""
    check_choice("block", block, ("basic", "bottleneck"))
    check_width("depths", depths)
    check_lengths(len(depths), widths=widths, inner_widths=inner_widths)
    kind = BasicBlock if block == "basic" else BottleneckBlock
    stages = nn.ModuleList()
    for index, (depth, width, inner) in enumerate(zip(depths, widths, inner_widths, strict=True)):
        check_lengths(depth, **{f"inner_widths[{index}]": inner})
        blocks = []
        for position, inner_width in enumerate(inner):
            if block == "bottleneck":
                check_lengths(2, **{f"inner_widths[{index}][{position}]": inner_width})
            stride = 2 if index and not position else 1
            blocks.append(kind(in_width, inner_width, width, stride, shortcut))
            in_width = width
        stages.append(nn.Sequential(*blocks))
    return stages


class ResNet(nn.Module):
    """ImageNet form: 7x7 stem with pooling, four stages, linear classifier.

    Args:
        block: ``basic`` (ResNet-18 and -34) or ``bottleneck`` (ResNet-50).
        depths: Blocks of each stage.
        stem_width: Channels of the stem.
        widths: Channels of the residual stream, one per stage; default 64 to 512 for basic and
            256 to 2048 for bottleneck blocks.
        inner_widths: Channels inside each block, one list per stage: an integer for a basic block,
            a pair for a bottleneck. Default the stage's width, a quarter of it for bottlenecks.
        num_classes: Classes.
        in_channels: Channels of the image.

    Raises:
        UsageError: Lists of different lengths, or a width that is not a positive whole number.
    """

    def __init__(
        self,
        block: str = "basic",
        depths: list[int] | None = None,
        stem_width: int = 64,
        widths: list[int] | None = None,
        inner_widths: list[list[Any]] | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        depths = list(depths or [2, 2, 2, 2])
        if widths is None:
            widths = [(64 if block == "basic" else 256) * 2**stage for stage in range(len(depths))]
        if inner_widths is None:
            inner_widths = [
                [width if block == "basic" else [width // 4] * 2 for _ in range(depth)]
                for width, depth in zip(widths, depths, strict=False)
            ]
        self.config = checked_config(ResNet, locals())

        self.stem = ConvNormAct(in_channels, stem_width, 7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = _stages(block, depths, stem_width, widths, inner_widths, "conv")
        self.classifier = nn.Linear(widths[-1], num_classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        x = self.pool(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        return self.classifier(x.mean((2, 3), keepdim=True).flatten(1))


class CifarResNet(nn.Module):
    """CIFAR form: 3x3 stem, three stages of ``depth`` basic blocks, ``6 * depth + 2`` layers.

    Args:
        depth: Blocks of each stage: 3, 5, 9, 18 for ResNet-20, -32, -56, -110.
        stem_width: Channels of the stem.
        widths: Channels of the residual stream, one per stage.
        inner_widths: Channels between the convolutions of each block, one list per stage; default
            the stage's width.
        shortcut: ``pad`` (option A, as the paper trained on CIFAR: no weights, no multiplications)
            or ``conv`` (option B).
        num_classes: Classes.
        in_channels: Channels of the image.

    Raises:
        UsageError: Lists of different lengths, or a width that is not a positive whole number.
    """

    def __init__(
        self,
        depth: int = 3,
        stem_width: int = 16,
        widths: list[int] | None = None,
        inner_widths: list[list[int]] | None = None,
        shortcut: str = "pad",
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        check_width("depth", depth)
        widths = list(widths or [16, 32, 64])
        if inner_widths is None:
            inner_widths = [[width] * depth for width in widths]
        self.config = checked_config(CifarResNet, locals())
        check_choice("shortcut", shortcut, ("pad", "conv"))

        self.stem = ConvNormAct(in_channels, stem_width, 3)
        depths = [depth] * len(widths)
        self.stages = _stages("basic", depths, stem_width, widths, inner_widths, shortcut)
        self.classifier = nn.Linear(widths[-1], num_classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.classifier(x.mean((2, 3), keepdim=True).flatten(1))
