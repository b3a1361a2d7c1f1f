"""Two-stream network for video: appearance and motion in, logits and embedding out.

Simonyan and Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos",
NIPS 2014, with the streams fused in the middle as in Feichtenhofer et al. (CVPR 2016).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgesdk.models.architecture import check_lengths, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.layers import ConvNormAct, convolutions

__all__ = ["TwoStreamNet"]


class TwoStreamNet(nn.Module):
    """A stream for the frame, one for the optical flow, a fusing convolution, two heads.

    Args:
        frame_widths: Channels of the strided convolutions of the frame's stream.
        flow_widths: The same for the flow's stream, of the same length.
        fused_width: Channels of the convolution over both streams.
        embedding_width: Features of the embedding.
        num_classes: Classes.
        flow_channels: Channels of the flow: two for every pair of frames.

    Raises:
        UsageError: Lists of different lengths, or a width that is not a positive whole number.
    """

    def __init__(
        self,
        frame_widths: list[int] | None = None,
        flow_widths: list[int] | None = None,
        fused_width: int = 128,
        embedding_width: int = 64,
        num_classes: int = 10,
        flow_channels: int = 2,
    ) -> None:
        super().__init__()
        frame_widths = frame_widths or [16, 32, 64]
        flow_widths = flow_widths or [8, 16, 32]
        check_lengths(len(frame_widths), flow_widths=flow_widths)
        self.config = checked_config(TwoStreamNet, locals())

        self.frame_stream = convolutions(3, frame_widths, stride=2)
        self.flow_stream = convolutions(flow_channels, flow_widths, stride=2)
        self.fuse = ConvNormAct(frame_widths[-1] + flow_widths[-1], fused_width)
        self.embed = nn.Linear(fused_width, embedding_width)
        self.classifier = nn.Linear(embedding_width, num_classes)
        initialise(self)

    def forward(self, frame: torch.Tensor, flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify a frame together with its motion.

        Args:
            frame: ``[N, 3, H, W]``.
            flow: ``[N, flow_channels, H, W]``, in pixels.

        Returns:
            Logits ``[N, num_classes]`` and the embedding ``[N, embedding_width]``.
        """
        both = torch.cat([self.frame_stream(frame), self.flow_stream(flow)], dim=1)
        pooled = self.fuse(both).mean((2, 3), keepdim=True).flatten(1)
        embedding = self.embed(pooled)
        return self.classifier(functional.relu(embedding)), embedding
