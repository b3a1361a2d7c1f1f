"""Choose the samples of each step, divide them among processes, and read them.

Batches are a function of the seed, the epoch and the step: a resumed run reads the same batches,
and several processes divide the batches that one process would read.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgesdk.errors import DataError, TrainingError
from edgesdk.training.counter_random import key, permutation
from edgesdk.training.data.labelled import LabelledImages

__all__ = ["Batch", "Share", "batches_of_epoch", "read_batches", "share_of"]

# Batch normalisation cannot train on one sample.
_SMALLEST = 2


@dataclass(frozen=True)
class Share:
    """One process's part of a batch.

    Attributes:
        indices: Indices of samples, ``int64 [N]``, at least two.
        partners: Position in this share of the sample that each is mixed with, ``int64 [N]``.
        weights: 1 for samples that count, 0 for padding, ``[N]``.
        size: Number of samples that count in all processes together.
    """

    indices: np.ndarray
    partners: np.ndarray
    weights: np.ndarray
    size: int


@dataclass(frozen=True)
class Batch:
    """A share with its images.

    Attributes:
        share: Indices of the samples.
        images: ``[N, C, H, W]``, ``uint8`` or floating.
        labels: ``int64 [N]``.
    """

    share: Share
    images: Tensor
    labels: Tensor


def batches_of_epoch(count: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the indices of every batch of an epoch, in order.

    The last batch holds the remainder; a remainder of one sample is dropped.

    Args:
        count: Number of samples.
        batch_size: Batch size over all processes.
        seed: Seed of the order.
        epoch: Epoch from 0.

    Raises:
        TrainingError: The data set has fewer than two samples.
    """
    if count < _SMALLEST:
        raise TrainingError(
            f"training needs at least two samples, not {count}", remedy="give more training images"
        )
    order = permutation(seed, "order", epoch, count)
    batches = [order[start : start + batch_size] for start in range(0, count, batch_size)]
    return batches if len(batches[-1]) >= _SMALLEST else batches[:-1]


def share_of(batch: np.ndarray, process: int, processes: int) -> Share:
    """Return one process's part of a batch, given as the indices of all its samples.

    Neighbours in a batch are each other's partners, and an odd last sample is its own; partners
    stay in one process.
    """
    pairs = (len(batch) + 1) // 2
    start, end = (2 * (pairs * part // processes) for part in (process, process + 1))
    own = batch[start:end]
    partners = np.arange(len(own)) ^ 1
    partners[partners >= len(own)] = len(own) - 1
    missing = max(0, _SMALLEST - len(own))
    fill = np.resize(batch, missing)
    return Share(
        np.concatenate([own, fill]),
        np.concatenate([partners, np.arange(len(own), len(own) + missing)]),
        np.concatenate([np.ones(len(own), np.float32), np.zeros(missing, np.float32)]),
        len(batch),
    )


def read_batches(
    data: Any, shares: Sequence[Share], *, seed: int, epoch: int, workers: int = 0
) -> Iterator[Batch]:
    """Read the images of shares in order.

    The global generators of torch, numpy and Python are seeded by seed, epoch and index for every
    sample, so random transforms of a data set do not depend on the number of processes.

    Args:
        data: Map-style: ``data[index]`` is ``(image tensor, label)``.
        shares: Shares to read.
        seed: Seed of the run.
        epoch: Epoch from 0.
        workers: Number of reader processes; 0 to read in this one.

    Raises:
        DataError: A sample is malformed, or images have different shapes.
    """
    if isinstance(data, LabelledImages) and (workers == 0 or data.in_memory):
        for share in shares:
            images, labels = data.batch(share.indices)
            yield Batch(share, images, labels)
        return
    samples = _SeededSamples(data, seed, epoch)
    if workers == 0:
        for share in shares:
            yield Batch(share, *_stacked(samples.__getitems__(share.indices.tolist()), share))
        return
    loader = torch.utils.data.DataLoader(
        samples,
        batch_sampler=[share.indices.tolist() for share in shares],
        num_workers=workers,
        collate_fn=_unchanged,
    )
    for share, read in zip(shares, loader, strict=True):
        if isinstance(read, DataError):
            raise read
        yield Batch(share, *_stacked(read, share))


def _unchanged(samples: Any) -> Any:
    return samples


class _SeededSamples(torch.utils.data.Dataset[Any]):
    """A user's data set that seeds the generators before each sample."""

    def __init__(self, data: Any, seed: int, epoch: int) -> None:
        self._data = data
        self._seed = seed
        self._epoch = epoch

    def __getitem__(self, index: int) -> Any:
        seed = key(self._seed, "sample", self._epoch, index)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        return self._data[index]

    def __getitems__(self, indices: list[int]) -> Any:
        try:
            return [self[index] for index in indices]
        except DataError as error:
            if torch.utils.data.get_worker_info() is None:
                raise
            # A loader would raise it again as text in another exception.
            return error


def _stacked(samples: Sequence[Any], share: Share) -> tuple[Tensor, Tensor]:
    images: list[Tensor] = []
    labels: list[int] = []
    for index, sample in zip(share.indices.tolist(), samples, strict=True):
        if not (isinstance(sample, (tuple, list)) and len(sample) == 2):
            raise DataError(
                f"sample {index} is a {type(sample).__name__}, not an image and a label",
                remedy="let the data set return (image tensor, label)",
            )
        image, label = sample
        if not isinstance(image, Tensor) or image.ndim != 3:
            kind = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise DataError(
                f"the image of sample {index} is {kind}",
                remedy="let the data set return tensors [C, H, W], uint8 or floating",
            )
        if images and (image.shape != images[0].shape or image.dtype != images[0].dtype):
            raise DataError(
                f"sample {index} is {image.dtype} {tuple(image.shape)}, others are "
                f"{images[0].dtype} {tuple(images[0].shape)}",
                remedy="give all images one size and dtype",
            )
        try:
            labels.append(int(label))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"the label of sample {index} is {label!r}", remedy="give a whole number"
            ) from error
        images.append(image)
    return torch.stack(images), torch.tensor(labels)
