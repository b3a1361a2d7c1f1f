"""Image files in one folder per class: find them, read their sizes, decode them to one size."""

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
    """Image files with their classes.

    Attributes:
        paths: Files, sorted within their class.
        labels: Index of each file's class in ``classes``.
        classes: Names of the folders, sorted.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]


def find_classes(folder: Path) -> ClassFolders:
    """Find the images below each sub-folder; hidden files and other files are skipped.

    Raises:
        DataError: There are fewer than two class folders, or one has no images.
    """
    classes = sorted(
        child.name for child in folder.iterdir() if child.is_dir() and not is_hidden(child.name)
    )
    if not classes:
        raise DataError(
            f"{folder} has no class folders",
            remedy="put the images of each class into a folder of its own: "
            f"{folder / 'CLASS' / 'image.jpg'}",
        )
    if len(classes) == 1:
        raise DataError(
            f"{folder} has a single class, {classes[0]!r}",
            remedy="a classifier needs at least two class folders",
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = pictures_below(folder / name)
        if not found:
            raise DataError(
                f"{folder / name} has no images",
                remedy=f"put images ({', '.join(IMAGE_SUFFIXES)}) there, or remove the folder",
            )
        paths += found
        labels += [label] * len(found)
    return ClassFolders(tuple(paths), tuple(labels), tuple(classes))


def measure(paths: Sequence[Path]) -> tuple[set[tuple[int, int]], bool]:
    """Read the sizes of images from their headers.

    Returns:
        Upright sizes (height, width), and True if every image is grey.

    Raises:
        DataError: The header of a file is damaged.
    """
    from PIL import Image

    sizes, grey = set(), True
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    # EXIF orientations 5 to 8 swap height and width.
                    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                    size = (image.width, image.height) if turned else (image.height, image.width)
                    sizes.add(size)
                    grey = grey and image.mode in _GREY_MODES
        except Exception as error:
            # Decoders of different formats raise different errors for a damaged header.
            raise _corrupted(path) from error
    return sizes, grey


def _corrupted(path: Path, detail: str = "") -> DataError:
    return DataError(
        f"{path} is not a readable image{detail}",
        where=str(path),
        remedy="the file is damaged: replace or remove it",
    )


class FileImages:
    """Images that are decoded on demand, upright and at one size.

    Args:
        paths: Files.
        shape: Channels (1 or 3), height and width; an image is scaled to cover that size and
            centre-cropped.
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
        """Decode the images at ``indices`` to ``uint8 [N, C, H, W]``.

        Raises:
            DataError: A file cannot be decoded.
        """
        return torch.stack([self._decode(index) for index in indices.tolist()])

    def select(self, indices: Tensor) -> FileImages:
        """Return the files at ``indices`` only."""
        return FileImages([self._paths[index] for index in indices.tolist()], self.shape)


def decoded(images: FileImages) -> Tensor:
    """Decode all images to ``uint8 [N, C, H, W]`` by several threads.

    Raises:
        DataError: A file cannot be decoded.
    """
    every = torch.empty((len(images), *images.shape), dtype=torch.uint8)

    def place(index: int) -> None:
        every[index] = images.batch(torch.tensor([index]))[0]

    with ThreadPoolExecutor(_DECODERS) as threads:
        for _ in threads.map(place, range(len(images))):
            pass
    return every
