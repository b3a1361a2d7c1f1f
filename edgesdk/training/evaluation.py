"""How often a classifier is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edgesdk.errors import DataError, ModelOutputError
from edgesdk.frontend.evaluation_mode import evaluation_mode
from edgesdk.training.augmentation import normalised
from edgesdk.training.batches import Share, generators_kept, read_batches

__all__ = ["Accuracy", "accuracy_of", "check_labels", "evaluate", "logits_of", "scores"]

_TOP = 5


@dataclass(frozen=True)
class Accuracy:
    """What :func:`evaluate` measured.

    Attributes:
        top1: Share of samples whose class scores highest, 0..1.
        top5: Share of samples whose class is among the five highest, 0..1.
        loss: Mean cross-entropy a sample.
        samples: How many.
    """

    top1: float
    top5: float
    loss: float
    samples: int


def evaluate(
    model: nn.Module,
    dataset: Any,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 256,
    device: torch.device | str | None = None,
) -> Accuracy:
    """Measure a classifier in evaluation mode.

    Args:
        model: Maps images to logits ``[N, classes]``; its mode is given back.
        dataset: :class:`~edgesdk.training.LabelledImages`, or any map-style data set of
            ``(image tensor, label)``.
        mean: One value a channel, of 0..1; see :func:`edgesdk.training.fit`.
        std: Likewise.
        batch_size: Samples at a time.
        device: Where to run; None for where the model lies. The model is moved there.

    Raises:
        DataError: An empty set, labels out of range, or samples that are none.
        ModelOutputError: The model gives no logits, or none that are finite.
    """
    if device is not None:
        model.to(device)
    total = scores(model, dataset, mean, std, batch_size=batch_size)
    return accuracy_of(total)


def accuracy_of(total: Tensor) -> Accuracy:
    """From what :func:`scores` counted, summed over all processes."""
    loss, top1, top5, count = total.tolist()
    if not np.isfinite(loss):
        raise ModelOutputError(
            "the model's scores are not finite", remedy="train with a lower learning rate"
        )
    return Accuracy(top1 / count, top5 / count, loss / count, int(count))


@torch.no_grad()
def scores(
    model: nn.Module,
    dataset: Any,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    *,
    batch_size: int = 256,
    process: int = 0,
    processes: int = 1,
) -> Tensor:
    """Sums over one process's samples: loss, top-1, top-5 and their number, ``float64 [4]``."""
    count = len(dataset)
    if count == 0:
        raise DataError("there is nothing to evaluate on", remedy="give labelled images")
    device = next((value.device for value in model.state_dict().values()), torch.device("cpu"))
    indices = np.arange(process, count, processes)
    shares = [
        Share(rows, rows, np.ones(len(rows), np.float32), len(rows))
        for start in range(0, len(indices), batch_size)
        if len(rows := indices[start : start + batch_size])
    ]
    total = torch.zeros(4, dtype=torch.float64)
    with evaluation_mode(model), generators_kept():
        for batch in read_batches(dataset, shares, seed=0, epoch=0):
            images = normalised(batch.images.to(device), mean, std)
            logits = logits_of(model(images), len(images)).float().cpu()
            check_labels(batch.labels, batch.share.indices, logits.shape[1])
            total += _counted(logits, batch.labels)
    return total


def _counted(logits: Tensor, labels: Tensor) -> Tensor:
    best = logits.topk(min(_TOP, logits.shape[1]), dim=1).indices
    right = best == labels[:, None]
    loss = cross_entropy(logits.double(), labels, reduction="sum")
    counts = [float(right[:, 0].sum()), float(right.sum()), float(len(labels))]
    return torch.tensor([float(loss), *counts], dtype=torch.float64)


def logits_of(output: Any, count: int) -> Tensor:
    """What a classifier answered, checked to be scores ``[count, classes]``.

    Raises:
        ModelOutputError: It is something else.
    """
    output = getattr(output, "logits", output)
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != count:
        kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelOutputError(
            f"the model answers {count} images with {kind}, not with scores [{count}, classes]",
            remedy="give a classifier that returns one tensor of logits",
        )
    return output


def check_labels(labels: Tensor, indices: np.ndarray, classes: int) -> None:
    """Labels must be below the number of scores.

    Raises:
        DataError: One is not.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        at = int(torch.nonzero((labels < 0) | (labels >= classes))[0])
        raise DataError(
            f"sample {int(indices[at])} has the label {int(labels[at])}, which is out of range for "
            f"a model of {classes} classes",
            remedy=f"labels are 0..{classes - 1}; build the model with as many classes as the data",
        )
