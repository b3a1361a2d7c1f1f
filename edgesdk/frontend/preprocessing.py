"""Preprocessing baked into a model, so that an app passes camera bytes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgesdk.spec import ImageSpec

__all__ = ["ImagePreprocessing"]


class ImagePreprocessing(nn.Module):
    """Convert camera bytes to the normalized floats the model was trained on.

    Computes ``(value / 255 * (high - low) + low - mean) / std`` per channel, as one multiplication
    and one addition.

    Args:
        spec: The preprocessing.
        planes: False takes ``uint8 [n, h, w, c]``; True takes ``float32 [n, c, h, w]`` in 0..255,
            the form in which Core ML passes images.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, spec: ImageSpec, *, planes: bool = False) -> None:
        super().__init__()
        std = torch.tensor(spec.std, dtype=torch.float64).view(1, -1, 1, 1)
        mean = torch.tensor(spec.mean, dtype=torch.float64).view(1, -1, 1, 1)
        self.planes = planes
        self.swap = spec.color != spec.model_color
        self.register_buffer("scale", ((spec.high - spec.low) / 255.0 / std).float())
        self.register_buffer("offset", ((spec.low - mean) / std).float())

    def forward(self, image: Tensor) -> Tensor:
        """Convert ``uint8 [n, h, w, c]`` or planes to ``float32 [n, c, h, w]``."""
        # Convert to float first: delegates transpose floats, but leave bytes to a slow kernel.
        planes = image if self.planes else image.to(torch.float32).permute(0, 3, 1, 2)
        if self.swap:
            planes = torch.cat((planes[:, 2:3], planes[:, 1:2], planes[:, 0:1]), dim=1)
        return planes * self.scale + self.offset


# Written into the names of operators: it stays as it was, so that a move changes no artefact.
ImagePreprocessing.__module__ = "edgesdk.face"
