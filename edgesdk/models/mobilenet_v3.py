"""MobileNetV3, large and small.

Howard et al., "Searching for MobileNetV3", ICCV 2019.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from edgesdk.models.architecture import check_choice, check_lengths, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.inverted_residual import inverted_residuals, residual_positions
from edgesdk.models.layers import ConvNormAct, make_divisible

__all__ = ["MobileNetV3"]


class _Row(NamedTuple):
    """A row of table 1 or 2 of the paper."""

    kernel_size: int
    expanded_width: int
    width: int
    gated: bool
    activation: str
    stride: int


_LARGE = (
    _Row(3, 0, 16, False, "relu", 1),
    _Row(3, 64, 24, False, "relu", 2),
    _Row(3, 72, 24, False, "relu", 1),
    _Row(5, 72, 40, True, "relu", 2),
    _Row(5, 120, 40, True, "relu", 1),
    _Row(5, 120, 40, True, "relu", 1),
    _Row(3, 240, 80, False, "hardswish", 2),
    _Row(3, 200, 80, False, "hardswish", 1),
    _Row(3, 184, 80, False, "hardswish", 1),
    _Row(3, 184, 80, False, "hardswish", 1),
    _Row(3, 480, 112, True, "hardswish", 1),
    _Row(3, 672, 112, True, "hardswish", 1),
    _Row(5, 672, 160, True, "hardswish", 2),
    _Row(5, 960, 160, True, "hardswish", 1),
    _Row(5, 960, 160, True, "hardswish", 1),
)
_SMALL = (
    _Row(3, 0, 16, True, "relu", 2),
    _Row(3, 72, 24, False, "relu", 2),
    _Row(3, 88, 24, False, "relu", 1),
    _Row(5, 96, 40, True, "hardswish", 2),
    _Row(5, 240, 40, True, "hardswish", 1),
    _Row(5, 240, 40, True, "hardswish", 1),
    _Row(5, 120, 48, True, "hardswish", 1),
    _Row(5, 144, 48, True, "hardswish", 1),
    _Row(5, 288, 96, True, "hardswish", 2),
    _Row(5, 576, 96, True, "hardswish", 1),
    _Row(5, 576, 96, True, "hardswish", 1),
)
_VARIANTS = {"large": (_LARGE, 960, 1280), "small": (_SMALL, 576, 1024)}


class MobileNetV3(nn.Module):
    """Inverted residuals with hard-swish and squeeze-and-excitation.

    Args:
        variant: ``large`` or ``small``: the published table with the defaults of other options.
        stem_width: Channels of the stem.
        kernel_sizes: Side of each block's depthwise kernel.
        expanded_widths: Channels inside each block; 0 leaves its expanding convolution out.
        widths: Output channels of each block.
        squeezed_widths: Features inside each block's gate; 0 leaves the gate out. Default a
            quarter of the block's channels, made divisible by 8.
        activations: ``relu`` or ``hardswish`` for each block.
        strides: Stride of each block.
        residuals: True for each block that adds its input; default wherever the shape allows it.
        tail_width: Channels of the last 1x1 convolution.
        head_width: Features of the linear layer in front of the classifier.
        num_classes: Classes.
        in_channels: Channels of the image.
        dropout: Probability of dropping a feature in front of the classifier.

    Raises:
        UsageError: An unknown variant, lists of different lengths, a width that is not a whole
            number, or a residual around a block that changes the shape.
    """

    def __init__(
        self,
        variant: str = "large",
        stem_width: int = 16,
        kernel_sizes: list[int] | None = None,
        expanded_widths: list[int] | None = None,
        widths: list[int] | None = None,
        squeezed_widths: list[int] | None = None,
        activations: list[str] | None = None,
        strides: list[int] | None = None,
        residuals: list[bool] | None = None,
        tail_width: int | None = None,
        head_width: int | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_choice("variant", variant, _VARIANTS)
        rows, published_tail, published_head = _VARIANTS[variant]
        kernel_sizes = kernel_sizes or [row.kernel_size for row in rows]
        expanded_widths = expanded_widths or [row.expanded_width for row in rows]
        widths = widths or [row.width for row in rows]
        squeezed_widths = squeezed_widths or [
            make_divisible((row.expanded_width or stem_width) / 4) if row.gated else 0
            for row in rows
        ]
        activations = activations or [row.activation for row in rows]
        strides = strides or [row.stride for row in rows]
        tail_width = published_tail if tail_width is None else tail_width
        head_width = published_head if head_width is None else head_width
        check_lengths(
            len(widths),
            kernel_sizes=kernel_sizes,
            expanded_widths=expanded_widths,
            squeezed_widths=squeezed_widths,
            activations=activations,
            strides=strides,
        )
        residuals = residuals or residual_positions(stem_width, widths, strides)
        check_lengths(len(widths), residuals=residuals)
        self.config = checked_config(
            MobileNetV3, locals(), zero=("expanded_widths", "squeezed_widths")
        )

        # The normalisation constants of the paper's TensorFlow training.
        norm: dict[str, Any] = {"eps": 1e-3, "momentum": 0.01}
        self.stem = ConvNormAct(
            in_channels, stem_width, 3, stride=2, activation="hardswish", **norm
        )
        self.blocks = inverted_residuals(self.config, **norm)
        self.tail = ConvNormAct(widths[-1], tail_width, activation="hardswish", **norm)
        self.head = nn.Linear(tail_width, head_width)
        self.activation = nn.Hardswish()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head_width, num_classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.tail(x).mean((2, 3), keepdim=True).flatten(1)
        return self.classifier(self.dropout(self.activation(self.head(x))))
