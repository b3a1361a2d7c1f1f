"""Image files of one folder a class: found, measured by their headers, decoded to one size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edgesdk.errors import DataError, InputSpecError
from edgesdk.frontend.random_inputs import image_tensor
from edgesdk.host.image_files import IMAGE_SUFFIXES, is_hidden, pictures_below
from edgesdk.spec import TensorSpec

__all__ = ["ClassFolders", "FileImages", "decoded", "find_classes", "measure"]

_GREY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L")
_DECODERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class ClassFolders:
    """Image files with the class each lies in.

    Attributes:
        paths: Files, sorted within their class.
        labels: Position of each file's class in ``classes``.
        classes: Names of the folders, sorted.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]


def find_classes(folder: Path) -> ClassFolders:
    """Every image below every sub-folder; hidden files and other files are left out.

    Raises:
        DataError: No class folder, a single one, or one without images.
    """
    classes = sorted(
        child.name for child in folder.iterdir() if child.is_dir() and not is_hidden(child.name)
    )
    if not classes:
        raise DataError(
            f"{folder} holds no folders of classes",
            remedy="put the images of each class into a folder of its own: "
            f"{folder / 'CLASS' / 'image.jpg'}",
        )
    if len(classes) == 1:
        raise DataError(
            f"{folder} holds a single class, {classes[0]!r}",
            remedy="a classifier needs at least two folders of classes",
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = pictures_below(folder / name)
        if not found:
            raise DataError(
                f"{folder / name} holds no images",
                remedy=f"put images ({', '.join(IMAGE_SUFFIXES)}) there, or remove the folder",
            )
        paths += found
        labels += [label] * len(found)
    return ClassFolders(tuple(paths), tuple(labels), tuple(classes))


def measure(paths: Sequence[Path]) -> tuple[set[tuple[int, int]], bool]:
    """Sizes (height, width) as they are seen upright, and whether every image is grey.

    Only headers are read.

    Raises:
        DataError: A file whose header is damaged.
    """
    from PIL import Image

    sizes, grey = set(), True
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    # Orientations 5 to 8 stand on their side.
                    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                    size = (image.width, image.height) if turned else (image.height, image.width)
                    sizes.add(size)
                    grey = grey and image.mode in _GREY_MODES
        except Exception as error:
            # What a decoder raises on a damaged header depends on the format.
            raise _corrupted(path) from error
    return sizes, grey


def _corrupted(path: Path, told: str = "") -> DataError:
    return DataError(
        f"{path} is no picture that can be read{told}",
        where=str(path),
        remedy="the file is damaged: replace or remove it",
    )


class FileImages:
    """Images that are decoded when they are asked for, upright and at one size.

    Args:
        paths: Files.
        shape: Channels (1 or 3), height and width; an image is scaled to cover that and cropped
            in the middle.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, int, int]) -> None:
        self._paths = tuple(paths)
        self._spec = TensorSpec("image", (1, *shape), "uint8", layout="NCHW")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self._spec.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self._paths)

    def _decode(self, index: int) -> Tensor:
        path = self._paths[index]
        try:
            return torch.from_numpy(image_tensor(path, self._spec))[0]
        except InputSpecError as error:
            more = f" ({error.message})" if "pixels" in error.message else ""
            raise _corrupted(path, more) from error

    def batch(self, indices: Tensor) -> Tensor:
        """``uint8 [N, C, H, W]`` of the images at ``indices``.

        Raises:
            DataError: A file that cannot be decoded.
        """
        return torch.stack([self._decode(index) for index in indices.tolist()])

    def select(self, indices: Tensor) -> FileImages:
        """The files at ``indices`` alone."""
        return FileImages([self._paths[index] for index in indices.tolist()], self.shape)


def decoded(images: FileImages) -> Tensor:
    """All images in memory, ``uint8 [N, C, H, W]``, decoded by several threads.

    Raises:
        DataError: A file that cannot be decoded.
    """
    every = torch.empty((len(images), *images.shape), dtype=torch.uint8)

    def place(index: int) -> None:
        every[index] = images.batch(torch.tensor([index]))[0]

    with ThreadPoolExecutor(_DECODERS) as threads:
        for _ in threads.map(place, range(len(images))):
            pass
    return every
