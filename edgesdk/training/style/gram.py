"""Gram matrices of a perceptual network's features, and the distances of photographs to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from edgesdk.errors import UsageError

if TYPE_CHECKING:
    from edgesdk.training.style.perceptual import PerceptualNet

__all__ = ["checked_shape", "gram_matrix", "unpainted_distances"]

#: Smallest distance of photographs to a painting, as a share of the painting's squared norm. A
#: smaller divisor would let that layer dominate the loss.
_CLOSEST = 0.05


def gram_matrix(features: torch.Tensor) -> torch.Tensor:
    """Compute Gram matrices ``G = F F^T / (C H W)``, Johnson et al. section 3.2, equation 3.

    Args:
        features: ``[N, C, H, W]``.

    Returns:
        ``[N, C, C]``, float32 at least.

    Raises:
        UsageError: ``features`` does not have four non-empty axes.
    """
    _, channels, height, width = checked_shape(features)
    # Sums of thousands of squares overflow half precision.
    flat = features.flatten(2).to(torch.promote_types(features.dtype, torch.float32))
    return torch.bmm(flat, flat.transpose(1, 2)) / (channels * height * width)


@torch.no_grad()
def unpainted_distances(
    net: PerceptualNet, photographs: torch.Tensor, grams: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Compute the Gram distances of unpainted photographs to paintings.

    Args:
        net: The perceptual network.
        photographs: ``[N, 3, H, W]``, 0..1.
        grams: Gram matrices of paintings by layer, ``[S, C, C]``.

    Returns:
        Mean squared distances by layer, ``[S]``.
    """
    sums = {
        layer: torch.zeros(len(wanted), device=wanted.device) for layer, wanted in grams.items()
    }
    for photograph in photographs.split(1):
        features = net(photograph, grams)
        for layer, wanted in grams.items():
            apart = (gram_matrix(features[layer]) - wanted).square().sum(dim=(1, 2))
            sums[layer] += apart / len(photographs)
    return {
        layer: torch.maximum(found, _CLOSEST * grams[layer].square().sum(dim=(1, 2)))
        for layer, found in sums.items()
    }


def checked_shape(features: torch.Tensor) -> tuple[int, int, int, int]:
    """Return the sizes of features ``[N, C, H, W]``.

    Raises:
        UsageError: The tensor does not have four axes, or one of them is empty.
    """
    if features.dim() != 4 or 0 in features.shape:
        raise UsageError(f"features must be [N, C, H, W], none of them 0: {list(features.shape)}")
    count, channels, height, width = features.shape
    return count, channels, height, width
