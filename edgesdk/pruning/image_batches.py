"""Batches of normalised images of a data set, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edgesdk.errors import PruningError
from edgesdk.training.augmentation import normalised
from edgesdk.training.batches import Share, generators_kept, read_batches

__all__ = ["evaluating", "image_batches"]


class evaluating:
    """Context in which a model is in evaluation mode; the mode of every module is restored.

    Args:
        model: Model to evaluate.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modes = [(module, module.training) for module in model.modules()]
        self._model = model

    def __enter__(self) -> None:
        self._model.eval()

    def __exit__(self, *problem: object) -> None:
        for module, training in self._modes:
            module.training = training


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
        mean: One value per channel, or None.
        std: One value per channel, or None.
        batch_size: Number of images in a batch.
        device: Device of the batches.

    Raises:
        PruningError: ``images`` is empty.
    """
    count = len(images)
    if count == 0:
        raise PruningError("the data set has no images", remedy="give at least one")
    shares = [
        Share(rows, rows, np.ones(len(rows), np.float32), len(rows))
        for start in range(0, count, batch_size)
        if len(rows := np.arange(start, min(count, start + batch_size)))
    ]
    with generators_kept():
        for batch in read_batches(images, shares, seed=0, epoch=0):
            yield normalised(batch.images.to(device), mean, std)
