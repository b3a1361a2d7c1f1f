"""Images of a labelled data set, in their order, ready for a model."""

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
    """Context in which a model is in evaluation mode; every module's own mode is given back.

    Args:
        model: The model.
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
    """Normalised images ``[N, C, H, W]``, batch after batch, all of them once and in order.

    Args:
        images: Data set of ``(image, label)``.
        mean: One value a channel, or None.
        std: One value a channel, or None.
        batch_size: Images at a time.
        device: Where the batches go.

    Raises:
        PruningError: There is no image.
    """
    count = len(images)
    if count == 0:
        raise PruningError("no images to look at channels with", remedy="give at least one")
    shares = [
        Share(rows, rows, np.ones(len(rows), np.float32), len(rows))
        for start in range(0, count, batch_size)
        if len(rows := np.arange(start, min(count, start + batch_size)))
    ]
    with generators_kept():
        for batch in read_batches(images, shares, seed=0, epoch=0):
            yield normalised(batch.images.to(device), mean, std)
