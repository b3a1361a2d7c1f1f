"""MobileNetV2.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from __future__ import annotations

import torch
from torch import nn

from edgesdk.models.architecture import as_lists, check_fraction, check_lengths, check_width
from edgesdk.models.initialisation import initialise
from edgesdk.models.inverted_residual import BlockShape, InvertedResidual, residual_positions
from edgesdk.models.layers import ConvNormAct

__all__ = ["MobileNetV2"]

#: Table 2 of the paper: expansion, output channels, blocks, stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _published() -> tuple[list[int], list[int], list[int]]:
    """Return the expanded widths (0: no expansion), widths and strides of the 17 blocks."""
    expanded, widths, strides = [], [], []
    previous = 32
    for expansion, width, repeats, stride in _STAGES:
        for repeat in range(repeats):
            expanded.append(0 if expansion == 1 else expansion * previous)
            widths.append(width)
            strides.append(1 if repeat else stride)
            previous = width
    return expanded, widths, strides


class MobileNetV2(nn.Module):
    """Inverted residuals with ReLU6.

    Args:
        stem_width: Channels of the stem.
        expanded_widths: Channels inside each block; 0 leaves its expanding convolution out.
        widths: Output channels of each block.
        strides: Stride of each block.
        residuals: True for each block that adds its input; default wherever the shape allows it.
        head_width: Channels of the last 1x1 convolution.
        num_classes: Classes.
        in_channels: Channels of the image.
        dropout: Probability of dropping a feature in front of the classifier.

    Raises:
        UsageError: Lists of different lengths, a width that is not a whole number, or a residual
            around a block that changes the shape.
    """

    def __init__(
        self,
        stem_width: int = 32,
        expanded_widths: list[int] | None = None,
        widths: list[int] | None = None,
        strides: list[int] | None = None,
        residuals: list[bool] | None = None,
        head_width: int = 1280,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        published = _published()
        expanded_widths = published[0] if expanded_widths is None else expanded_widths
        widths = published[1] if widths is None else widths
        strides = published[2] if strides is None else strides
        check_lengths(len(widths), expanded_widths=expanded_widths, strides=strides)
        if residuals is None:
            residuals = residual_positions(stem_width, widths, strides)
        check_lengths(len(widths), residuals=residuals)
        self.config: dict[str, object] = as_lists(
            {
                "stem_width": stem_width,
                "expanded_widths": expanded_widths,
                "widths": widths,
                "strides": strides,
                "residuals": residuals,
                "head_width": head_width,
                "num_classes": num_classes,
                "in_channels": in_channels,
                "dropout": dropout,
            }
        )
        check_width("expanded_widths", expanded_widths, smallest=0)
        for key in ("stem_width", "widths", "strides", "head_width", "num_classes", "in_channels"):
            check_width(key, self.config[key])
        check_fraction("dropout", dropout)

        self.stem = ConvNormAct(in_channels, stem_width, 3, stride=2, activation="relu6")
        self.blocks = nn.ModuleList()
        previous = stem_width
        for expanded, width, stride, residual in zip(
            expanded_widths, widths, strides, residuals, strict=True
        ):
            shape = BlockShape(previous, expanded, width, stride=stride, residual=residual)
            self.blocks.append(InvertedResidual(shape))
            previous = width
        self.head = ConvNormAct(previous, head_width, activation="relu6")
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head_width, num_classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.head(x).mean((2, 3), keepdim=True).flatten(1)
        return self.classifier(self.dropout(x))
