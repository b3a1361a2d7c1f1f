"""The inverted residual block of MobileNetV2, MobileNetV3 and EfficientNet-Lite.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from edgesdk.errors import UsageError
from edgesdk.models.layers import ConvNormAct, SqueezeExcite

__all__ = [
    "BlockShape",
    "InvertedResidual",
    "block_lists",
    "inverted_residuals",
    "residual_positions",
]


@dataclass(frozen=True)
class BlockShape:
    """Configuration of one inverted residual block.

    Attributes:
        in_width: Input channels.
        expanded_width: Channels of the depthwise convolution; 0 leaves the expanding
            convolution out, so that the depthwise one works on the input.
        width: Output channels.
        kernel_size: Side of the depthwise kernel.
        stride: Stride of the depthwise convolution.
        residual: True to add the input to the output.
        squeezed_width: Features inside the squeeze-and-excitation gate; 0 leaves it out.
        activation: Activation behind the expanding and the depthwise convolution.
    """

    in_width: int
    expanded_width: int
    width: int
    kernel_size: int = 3
    stride: int = 1
    residual: bool = False
    squeezed_width: int = 0
    activation: str = "relu6"


def block_lists(
    in_width: int, stages: Sequence[tuple[int, int, int, int, int]]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Expand the table of a paper to kernel sizes, expanded widths, widths and strides of blocks.

    Args:
        in_width: Channels in front of the first block.
        stages: Kernel size, expansion (1: none, width 0), output channels, number of blocks, and
            stride of the first block of each stage.
    """
    kernels, expanded, widths, strides = [], [], [], []
    for kernel_size, expansion, width, repeats, stride in stages:
        for repeat in range(repeats):
            kernels.append(kernel_size)
            expanded.append(0 if expansion == 1 else expansion * in_width)
            widths.append(width)
            strides.append(1 if repeat else stride)
            in_width = width
    return kernels, expanded, widths, strides


def residual_positions(in_width: int, widths: Sequence[int], strides: Sequence[int]) -> list[bool]:
    """Apply the published rule: a block adds its input if its shape does not change.

    Args:
        in_width: Channels in front of the first block.
        widths: Output channels of each block.
        strides: Stride of each block.
    """
    before = [in_width, *widths[:-1]]
    return [
        stride == 1 and previous == width
        for previous, width, stride in zip(before, widths, strides, strict=True)
    ]


class InvertedResidual(nn.Module):
    """Expand with 1x1, filter every channel by itself, project back with 1x1 and no activation.

    Args:
        shape: Sizes of the block.
        eps: Epsilon of the batch normalisation.
        momentum: Momentum of the batch normalisation.
        padding: ``symmetric`` or ``same``, see :class:`~edgesdk.models.layers.ConvNormAct`.

    Raises:
        UsageError: A residual around a block that changes the shape.
    """

    def __init__(
        self,
        shape: BlockShape,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        padding: str = "symmetric",
    ) -> None:
        super().__init__()
        if shape.residual and (shape.stride != 1 or shape.in_width != shape.width):
            raise UsageError(
                f"a block from {shape.in_width} to {shape.width} channels with stride "
                f"{shape.stride} cannot add its input",
                remedy="set its element of residuals to false, or give it the width of its input",
            )
        self.residual = shape.residual
        middle = shape.expanded_width or shape.in_width
        self.expand: nn.Module = nn.Identity()
        if shape.expanded_width:
            self.expand = ConvNormAct(
                shape.in_width, middle, activation=shape.activation, eps=eps, momentum=momentum
            )
        self.depthwise = ConvNormAct(
            middle,
            middle,
            shape.kernel_size,
            stride=shape.stride,
            groups=middle,
            activation=shape.activation,
            eps=eps,
            momentum=momentum,
            padding=padding,
        )
        self.squeeze_excite: nn.Module = nn.Identity()
        if shape.squeezed_width:
            self.squeeze_excite = SqueezeExcite(middle, shape.squeezed_width, "hardsigmoid")
        self.project = ConvNormAct(
            middle, shape.width, activation="linear", eps=eps, momentum=momentum
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, in_width, H, W]`` to ``[N, width, H / stride, W / stride]``."""
        y = self.project(self.squeeze_excite(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


def inverted_residuals(config: Mapping[str, Any], **options: Any) -> nn.ModuleList:
    """Build the blocks that the lists of a configuration describe.

    Args:
        config: ``stem_width``, and the fields of :class:`BlockShape` in the plural, with one
            element per block; lists of fields that have a default may be missing.
        **options: Options of :class:`InvertedResidual` for every block.
    """
    names = [field.name for field in fields(BlockShape)]
    lists = {name: config[f"{name}s"] for name in names if f"{name}s" in config}
    blocks = nn.ModuleList()
    in_width = config["stem_width"]
    for position in range(len(config["widths"])):
        shape = BlockShape(in_width, **{name: values[position] for name, values in lists.items()})
        blocks.append(InvertedResidual(shape, **options))
        in_width = shape.width
    return blocks
