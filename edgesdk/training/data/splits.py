"""Training, validation and test set of one data source, with its statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from edgesdk.errors import DataError, UsageError
from edgesdk.training.counter_random import permutation
from edgesdk.training.data.labelled import LabelledImages

__all__ = ["DataSplits", "class_names", "hold_out", "mean_and_std", "stratified"]

# Ten thousand images give the statistics to three digits, which is enough.
_STATISTICS_IMAGES = 10_000
_STATISTICS_BATCH = 500


@dataclass(frozen=True)
class DataSplits:
    """Data sets of :func:`edgesdk.training.open_data`.

    Attributes:
        train: Training set.
        validation: Held-out set for model selection; None with ``validation=0``.
        test: Test set, for one measurement at the end; None if the data have none.
        classes: Name of every class, in the order of the labels.
        mean: Mean of the training images per channel, 0..1.
        std: Standard deviation likewise, never zero.
        image_shape: Channels, height and width.
        notes: Remarks for the user on how the sets were made.
    """

    train: LabelledImages
    validation: LabelledImages | None
    test: LabelledImages | None
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]
    notes: tuple[str, ...] = ()

    def subset(self, count: int, seed: int = 0) -> DataSplits:
        """Return at most ``count`` samples of each set, stratified by class, for quick runs.

        Mean and standard deviation stay those of the whole training set.

        Args:
            count: Samples per set; at least one per class.
            seed: The same seed selects the same samples.

        Raises:
            UsageError: ``count`` is below the number of classes.
        """
        if count < len(self.classes):
            raise UsageError(
                f"{count} samples are fewer than the {len(self.classes)} classes",
                remedy=f"ask for at least {len(self.classes)}",
            )
        return replace(
            self,
            train=_at_most(self.train, count, seed),
            validation=self.validation and _at_most(self.validation, count, seed),
            test=self.test and _at_most(self.test, count, seed),
        )


def _at_most(images: LabelledImages, count: int, seed: int) -> LabelledImages:
    if len(images) <= count:
        return images
    chosen, _ = stratified(images.labels.numpy(), count, seed)
    return images.select(chosen)


def stratified(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose samples so that every class keeps its share, to within one sample.

    Args:
        labels: ``int64 [N]``.
        count: Samples to choose, at most ``N``.
        seed: The same seed gives the same choice.

    Returns:
        Indices of the chosen samples and of the others, both ascending.
    """
    order = permutation(seed, "split", 0, len(labels))
    # Give the k-th of the n samples of a class the position (k + 1/2) / n; the first `count` of
    # all samples in the order of positions then hold every class in proportion.
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    rank = np.lexsort((permutation(seed, "tie", 0, len(labels)), place))
    return np.sort(rank[:count]), np.sort(rank[count:])


def hold_out(
    images: LabelledImages, share: float, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Split a set in two, stratified by class.

    Args:
        images: The set.
        share: Share of the samples to hold out, above 0 and below 1.
        seed: The same seed gives the same split.

    Returns:
        The remaining and the held-out samples.

    Raises:
        DataError: The set has too few samples for the split.
    """
    count = round(share * len(images))
    if not 0 < count < len(images):
        raise DataError(
            f"{images.name} has {len(images)} samples: a share of {share:g} cannot be held out",
            remedy="add images, or give another share",
        )
    out, rest = stratified(images.labels.numpy(), count, seed)
    return images.select(rest), images.select(out)


def mean_and_std(images: LabelledImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation per channel, for images of 0..1.

    They come from at most ten thousand images, evenly spread over the set: the same every time.
    """
    step = max(1, -(-len(images) // _STATISTICS_IMAGES))
    rows = range(0, len(images), step)
    channels, height, width = images.image_shape
    total = torch.zeros(channels, dtype=torch.int64)
    squares = torch.zeros(channels, dtype=torch.int64)
    for start in range(0, len(rows), _STATISTICS_BATCH):
        batch, _ = images.batch(list(rows[start : start + _STATISTICS_BATCH]))
        # Integer sums are exact in any order.
        values = batch.to(torch.int32)
        total += values.sum((0, 2, 3))
        squares += (values * values).sum((0, 2, 3), dtype=torch.int64)
    pixels = len(rows) * height * width
    means = [int(value) / pixels for value in total]
    variances = [
        int(square) / pixels - mean**2 for square, mean in zip(squares, means, strict=True)
    ]
    # A constant channel is only centred.
    stds = [(variance**0.5 / 255) if variance > 1e-6 else 1.0 for variance in variances]
    return tuple(mean / 255 for mean in means), tuple(stds)


def class_names(found: Sequence[str] | None, count: int, where: str) -> tuple[str, ...]:
    """Return the names of ``count`` classes: ``found``, or their numbers.

    Raises:
        DataError: ``found`` has another number of names.
    """
    if found is None:
        return tuple(str(label) for label in range(count))
    if len(found) != count:
        raise DataError(
            f"{where} names {len(found)} classes, but the labels have {count}",
            remedy="write one name per line, in the order of the labels",
        )
    return tuple(found)
