"""A small single-shot detector that returns a dictionary.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from edgesdk.models.architecture import check_lengths, check_multiple, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.layers import ConvNormAct

__all__ = ["SingleShotDetector", "prior_boxes"]

#: Aspect ratios (width / height) of the prior boxes at each position.
_RATIOS = (1.0, 2.0, 0.5)
# The paper's scale factors of the regressed centres and sizes.
_CENTRE_VARIANCE = 0.1
_SIZE_VARIANCE = 0.2


def prior_boxes(image_size: int, strides: list[int]) -> torch.Tensor:
    """Return the prior boxes of every feature map, row by row.

    Args:
        image_size: Side of the square image in pixels.
        strides: Stride of each feature map in image pixels.

    Returns:
        ``[boxes, 4]``: centre x, centre y, width, height as fractions of the image. A box of
        stride ``s`` has the area of a square of side ``3 s``.
    """
    boxes = []
    for stride in strides:
        cells = image_size // stride
        side = 3 * stride / image_size
        for row in range(cells):
            for column in range(cells):
                for ratio in _RATIOS:
                    width, height = side * math.sqrt(ratio), side / math.sqrt(ratio)
                    boxes.append([(column + 0.5) / cells, (row + 0.5) / cells, width, height])
    return torch.tensor(boxes)


class SingleShotDetector(nn.Module):
    """Strided backbone with a box head and a class head on each of its last feature maps.

    The application does the non-maximum suppression.

    Args:
        image_size: Side of the square image in pixels; a multiple of the coarsest stride.
        backbone_widths: Channels of each strided convolution.
        inner_widths: Channels of the 3x3 convolution behind each strided one.
        maps: Number of feature maps with heads, counted from the last.
        num_classes: Classes without the background, which comes first in the scores.
        in_channels: Channels of the image.

    Raises:
        UsageError: Lists of different lengths, sizes that do not divide, or a width that is not
            a positive whole number.
    """

    priors: torch.Tensor

    def __init__(
        self,
        image_size: int = 96,
        backbone_widths: list[int] | None = None,
        inner_widths: list[int] | None = None,
        maps: int = 2,
        num_classes: int = 4,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        backbone_widths = backbone_widths or [16, 32, 64, 96]
        inner_widths = inner_widths or backbone_widths
        check_lengths(len(backbone_widths), inner_widths=inner_widths)
        self.config = checked_config(SingleShotDetector, locals())
        check_multiple("image_size", image_size, 2 ** len(backbone_widths))
        maps = min(maps, len(backbone_widths))

        self.num_classes = num_classes
        self.stages = nn.ModuleList()
        width = in_channels
        for strided, inner in zip(backbone_widths, inner_widths, strict=True):
            self.stages.append(
                nn.Sequential(
                    ConvNormAct(width, strided, 3, stride=2), ConvNormAct(strided, inner, 3)
                )
            )
            width = inner
        self.first_map = len(backbone_widths) - maps
        heads = inner_widths[self.first_map :]
        self.box_heads = nn.ModuleList(
            nn.Conv2d(width, len(_RATIOS) * 4, 3, padding=1) for width in heads
        )
        self.score_heads = nn.ModuleList(
            nn.Conv2d(width, len(_RATIOS) * (num_classes + 1), 3, padding=1) for width in heads
        )
        strides = [2 ** (index + 1) for index in range(self.first_map, len(backbone_widths))]
        self.register_buffer("priors", prior_boxes(image_size, strides), persistent=False)
        initialise(self)

    def _decode(self, offsets: torch.Tensor) -> torch.Tensor:
        """Convert ``offsets`` from the priors to corners of boxes."""
        centres = self.priors[:, :2] + offsets[..., :2] * _CENTRE_VARIANCE * self.priors[:, 2:]
        sizes = self.priors[:, 2:] * torch.exp(offsets[..., 2:] * _SIZE_VARIANCE)
        return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Detect objects in images ``[N, in_channels, image_size, image_size]``.

        Returns:
            ``boxes`` ``[N, boxes, 4]``: left, top, right, bottom as fractions of the image, not
            clipped to it. ``scores`` ``[N, boxes, 1 + num_classes]``: probabilities, the
            background first.
        """
        offsets, logits = [], []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            head = index - self.first_map
            if head >= 0:
                batch = x.shape[0]
                box = self.box_heads[head](x).permute(0, 2, 3, 1)
                offsets.append(box.reshape(batch, -1, 4))
                score = self.score_heads[head](x).permute(0, 2, 3, 1)
                logits.append(score.reshape(batch, -1, self.num_classes + 1))
        return {
            "boxes": self._decode(torch.cat(offsets, dim=1)),
            "scores": torch.softmax(torch.cat(logits, dim=1), dim=-1),
        }
