"""Batches of normalised images of a data set, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from edgesdk.errors import PruningError
from edgesdk.frontend.side_effects import generators_kept
from edgesdk.training.augmentation import normalised
from edgesdk.training.batches import Share, read_batches

__all__ = ["image_batches"]


def image_batches(
    images: Any,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> Iterator[torch.Tensor]:
    """Yield normalised images ``[N, C, H, W]`` in batches, all of them once and in order.

    Args:
        images: Data set of ``(image, label)``.
        mean, std: One value per channel, or None.
        batch_size: Number of images in a batch.
        device: Device of the batches.

    Raises:
        PruningError: ``images`` is empty.
    """
    count = len(images)
    if count == 0:
        raise PruningError("the data set has no images", remedy="give at least one")
    batches = np.split(np.arange(count), range(batch_size, count, batch_size))
    shares = [Share(rows, rows, np.ones(len(rows), np.float32), len(rows)) for rows in batches]
    with generators_kept():
        for batch in read_batches(images, shares, seed=0, epoch=0):
            yield normalised(batch.images.to(device), mean, std)
