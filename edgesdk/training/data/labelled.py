"""Labelled images, in memory or decoded from files on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from edgesdk.errors import DataError

__all__ = ["ImageSource", "LabelledImages", "TensorImages"]

Indices: TypeAlias = Sequence[int] | np.ndarray | Tensor


class ImageSource(Protocol):
    """Interface of a source of images."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """Return the images at ``indices``, ``int64 [N]``, as ``uint8 [N, C, H, W]``."""

    def select(self, indices: Tensor) -> ImageSource:
        """Return the images at ``indices`` only, in that order."""


class TensorImages:
    """Images in memory.

    Args:
        images: ``uint8 [N, C, H, W]``.
    """

    def __init__(self, images: Tensor) -> None:
        self._images = images

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self._images.shape[1:]
        return channels, height, width

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor) -> Tensor:
        """Return the images at ``indices`` as ``uint8 [N, C, H, W]``."""
        return self._images.index_select(0, indices)

    def select(self, indices: Tensor) -> TensorImages:
        """Return a copy of the images at ``indices`` only."""
        return TensorImages(self.batch(indices))


class LabelledImages:
    """A map-style data set of ``(uint8 image [C, H, W], label)``.

    Args:
        images: ``uint8 [N, C, H, W]``, or a source of images.
        labels: ``int64 [N]``, each below the number of classes.
        classes: Name of every class, in the order of the labels; at least two.
        name: Name in error messages.

    Raises:
        DataError: Images of another shape or dtype, different lengths, or labels out of range.
    """

    def __init__(
        self,
        images: Tensor | ImageSource,
        labels: Tensor,
        classes: Sequence[str],
        name: str = "the data set",
    ) -> None:
        if isinstance(images, Tensor):
            if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
                raise DataError(
                    f"{name}: images are {images.dtype} {tuple(images.shape)}",
                    remedy="give uint8 [N, C, H, W] with one or three channels",
                )
            images = TensorImages(images)
        labels = labels.to(torch.int64)
        if len(labels) != len(images) or labels.ndim != 1:
            raise DataError(
                f"{name} has {len(images)} images and labels of shape {tuple(labels.shape)}",
                remedy="give one label per image",
            )
        if len(images) == 0:
            raise DataError(f"{name} is empty", remedy="give at least one image per class")
        if len(classes) < 2:
            raise DataError(
                f"{name} has {len(classes)} class", remedy="a classifier needs at least two"
            )
        bad = torch.nonzero((labels < 0) | (labels >= len(classes)))
        if len(bad):
            first = int(bad[0])
            raise DataError(
                f"{name}: sample {first} has the label {int(labels[first])}, which is out of range "
                f"for {len(classes)} classes ({len(bad)} such labels)",
                remedy=f"labels are 0..{len(classes) - 1}",
            )
        self._images = images
        self.labels = labels
        self.classes = tuple(classes)
        self.name = name

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self._images.shape

    @property
    def in_memory(self) -> bool:
        """True if the images are in memory, so that reading a batch only copies it."""
        return isinstance(self._images, TensorImages)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        images, labels = self.batch([position])
        return images[0], int(labels[0])

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, int]]:
        """Return several samples at once, for torch's data loaders."""
        images, labels = self.batch(indices)
        return list(zip(images.unbind(), labels.tolist(), strict=True))

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Return images ``uint8 [N, C, H, W]`` and labels ``int64 [N]`` at ``indices`` from 0.

        Raises:
            DataError: An image file cannot be read.
        """
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return self._images.batch(rows), self.labels.index_select(0, rows)

    def select(self, indices: Indices) -> LabelledImages:
        """Return the samples at ``indices`` only, in that order, with all classes."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return LabelledImages(
            self._images.select(rows), self.labels.index_select(0, rows), self.classes, self.name
        )
