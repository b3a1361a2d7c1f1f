"""MobileNetV2.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from __future__ import annotations

import torch
from torch import nn

from edgesdk.models.architecture import check_lengths, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.inverted_residual import block_lists, inverted_residuals, residual_positions
from edgesdk.models.layers import ConvNormAct

__all__ = ["MobileNetV2"]

#: Table 2 of the paper: kernel, expansion, output channels, blocks, stride of the first block.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (3, 6, 32, 3, 2),
    (3, 6, 64, 4, 2),
    (3, 6, 96, 3, 1),
    (3, 6, 160, 3, 2),
    (3, 6, 320, 1, 1),
)


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
        published = block_lists(32, _STAGES)
        expanded_widths = published[1] if expanded_widths is None else expanded_widths
        widths = published[2] if widths is None else widths
        strides = published[3] if strides is None else strides
        check_lengths(len(widths), expanded_widths=expanded_widths, strides=strides)
        if residuals is None:
            residuals = residual_positions(stem_width, widths, strides)
        check_lengths(len(widths), residuals=residuals)
        self.config = checked_config(MobileNetV2, locals(), zero=("expanded_widths",))

        self.stem = ConvNormAct(in_channels, stem_width, 3, stride=2, activation="relu6")
        self.blocks = inverted_residuals(self.config)
        self.head = ConvNormAct(widths[-1], head_width, activation="relu6")
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
