"""Measure the accuracy of classifiers."""

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
from edgesdk.frontend.side_effects import state_kept
from edgesdk.training.augmentation import normalised
from edgesdk.training.batches import Share, read_batches

__all__ = ["Accuracy", "accuracy_of", "check_labels", "evaluate", "logits_of", "scores"]

_TOP = 5


@dataclass(frozen=True)
class Accuracy:
    """Result of :func:`evaluate`.

    Attributes:
        top1: Share of samples whose class scores highest, 0..1.
        top5: Share of samples whose class is among the five highest, 0..1.
        loss: Mean cross-entropy a sample.
        samples: Number of samples.
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
    """Measure a classifier in evaluation mode::

        accuracy = evaluate(model, data.test, mean=data.mean, std=data.std)
        print(f"{accuracy.top1:.1%}")

    Args:
        model: Maps images to logits ``[N, classes]``; its mode is restored.
        dataset: :class:`~edgesdk.training.LabelledImages`, or any map-style data set of
            ``(image tensor, label)``.
        mean: One value per channel, in 0..1; see :func:`edgesdk.training.fit`.
        std: Likewise.
        batch_size: Samples per batch.
        device: Device to move the model to; None to leave it where it is.

    Raises:
        DataError: The set is empty, labels are out of range, or samples are malformed.
        ModelOutputError: The model does not return finite logits.
    """
    if device is not None:
        model.to(device)
    return accuracy_of(scores(model, dataset, mean, std, batch_size=batch_size))


def accuracy_of(total: Tensor) -> Accuracy:
    """Return the accuracy from the sums of :func:`scores` over all processes."""
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
    """Return the sums over one process's samples: loss, top-1, top-5, count, ``float64 [4]``."""
    count = len(dataset)
    if count == 0:
        raise DataError("the data set for evaluation is empty", remedy="give labelled images")
    device = next((value.device for value in model.state_dict().values()), torch.device("cpu"))
    indices = np.arange(process, count, processes)
    shares = [
        Share(rows, rows, np.ones(len(rows), np.float32), len(rows))
        for start in range(0, len(indices), batch_size)
        if len(rows := indices[start : start + batch_size])
    ]
    total = torch.zeros(4, dtype=torch.float64)
    with evaluation_mode(model), state_kept(model):
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
    """Return the logits ``[count, classes]`` of a classifier's output.

    Raises:
        ModelOutputError: The output is something else.
    """
    output = getattr(output, "logits", output)
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != count:
        kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelOutputError(
            f"the model returns {kind} for {count} images, not scores [{count}, classes]",
            remedy="give a classifier that returns one tensor of logits",
        )
    return output


def check_labels(labels: Tensor, indices: np.ndarray, classes: int) -> None:
    """Check that labels are below the number of classes.

    Raises:
        DataError: A label is out of range.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        at = int(torch.nonzero((labels < 0) | (labels >= classes))[0])
        raise DataError(
            f"sample {int(indices[at])} has the label {int(labels[at])}, which is out of range for "
            f"a model of {classes} classes",
            remedy=f"labels are 0..{classes - 1}; build the model with as many classes as the data",
        )
