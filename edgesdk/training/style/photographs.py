"""Training photographs: find them in a folder, decode, cache and crop them at random."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesdk.errors import DataError, InputNotFoundError, InputSpecError
from edgesdk.host.image_files import IMAGE_SUFFIXES, pictures_below, read_picture
from edgesdk.training.counter_random import key

__all__ = ["Photographs"]

Pixels = NDArray[np.uint8]

#: Largest cached size of a photograph, in crops.
_ROOM = 2.0
#: Smallest usable shorter side, in crops; smaller photographs would be blurred.
_LEAST = 0.5
#: Bytes of decoded photographs cached in memory.
_KEPT_BYTES = 1 << 30


class Photographs:
    """The photographs of a folder and its sub-folders.

    Files are decoded on first use. A file that is unreadable or too small is skipped from then on,
    and the next one replaces it.

    Args:
        folder: The folder.
        crop: Side of the crops in pixels.

    Attributes:
        skipped: Reason for each skipped file.

    Raises:
        InputNotFoundError: The folder does not exist.
        DataError: The folder has no pictures.
    """

    def __init__(self, folder: Path, crop: int) -> None:
        if not folder.exists():
            raise InputNotFoundError(folder, "folder")
        if not folder.is_dir():
            raise DataError(f"{folder} is a file, not a folder", remedy="give the folder")
        self._paths = tuple(pictures_below(folder))
        if not self._paths:
            raise DataError(
                f"{folder} has no pictures",
                remedy=f"put photographs ({', '.join(IMAGE_SUFFIXES)}) there",
            )
        self._folder = folder
        self._crop = crop
        self._kept: dict[int, Pixels] = {}
        self._bytes = 0
        self.skipped: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def identity(self) -> str:
        """Return a digest of file names and sizes."""
        lines = [
            f"{path.relative_to(self._folder).as_posix()} {path.stat().st_size}"
            for path in self._paths
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def crop(self, index: int, seed: int, turn: int) -> Pixels:
        """Cut a random square from a photograph, at random position, scale and mirroring.

        Args:
            index: Index of the photograph.
            seed: Seed of the run.
            turn: Number of the draw; the same number gives the same square.

        Returns:
            ``uint8 [crop, crop, 3]``, RGB.

        Raises:
            DataError: The folder has no usable photograph.
        """
        found, pixels = self._readable(index)
        random = np.random.default_rng(key(seed, "crop", turn, found))
        height, width = pixels.shape[:2]
        side = round(self._crop * random.uniform(1.0, min(height, width) / self._crop))
        top = int(random.integers(height - side + 1))
        left = int(random.integers(width - side + 1))
        window = pixels[top : top + side, left : left + side]
        if random.random() < 0.5:
            window = window[:, ::-1]
        if side == self._crop:
            return np.ascontiguousarray(window)
        picture = Image.fromarray(np.ascontiguousarray(window))
        size = (self._crop, self._crop)
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))

    def whole(self, index: int, longest: int) -> Pixels:
        """Return a whole photograph, its longer side ``longest``, cropped to multiples of 8.

        Raises:
            DataError: The folder has no usable photograph.
        """
        _, pixels = self._readable(index)
        height, width = pixels.shape[:2]
        scale = longest / max(height, width)
        size = (max(16, round(width * scale) // 8 * 8), max(16, round(height * scale) // 8 * 8))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))

    def _readable(self, index: int) -> tuple[int, Pixels]:
        for offset in range(len(self._paths)):
            found = (index + offset) % len(self._paths)
            pixels = self._decoded(found)
            if pixels is not None:
                return found, pixels
        path, why = next(iter(self.skipped.items()))
        raise DataError(
            f"none of the {len(self._paths)} pictures in {self._folder} can be used: "
            f"{path.name}: {why}",
            remedy=f"give photographs of {self._crop} pixels and more",
        )

    def _decoded(self, index: int) -> Pixels | None:
        path = self._paths[index]
        if index in self._kept:
            return self._kept[index]
        if path in self.skipped:
            return None
        try:
            picture = read_picture(path, backdrop="white")
        except InputSpecError as error:
            self.skipped[path] = error.message
            return None
        shorter = min(picture.size)
        if shorter < _LEAST * self._crop:
            self.skipped[path] = f"{picture.width} x {picture.height} is too small"
            return None
        scale = min(max(1.0, self._crop / shorter), _ROOM * self._crop / shorter)
        size = (
            max(self._crop, round(picture.width * scale)),
            max(self._crop, round(picture.height * scale)),
        )
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
        pixels = np.asarray(picture)
        if self._bytes + pixels.nbytes <= _KEPT_BYTES:
            self._kept[index] = pixels
            self._bytes += pixels.nbytes
        return pixels
