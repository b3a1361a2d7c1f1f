"""Read and write folders of pictures as the frames of a video."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edgesdk.errors import InputNotFoundError, MediaError, OutputExistsError, UsageError
from edgesdk.host.atomic_write import partial_beside, partial_name, storage_errors, sync_tree
from edgesdk.host.closing import Closing
from edgesdk.video.frames import Frame
from edgesdk.video.media.colour import assumed_colour
from edgesdk.video.media.outputs import check_output
from edgesdk.video.media.properties import Trouble, VideoProperties

__all__ = ["PICTURE_SUFFIXES", "PictureFolderReader", "PictureFolderWriter", "natural_order"]

#: Suffixes of the files that count as pictures.
PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B")


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key that sorts ``frame9`` before ``frame10``."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


class PictureFolderReader(Closing):
    """The pictures of a folder as frames, in natural order of their names.

    Hidden files, folders and files of other types are ignored. EXIF orientation is applied, 16-bit
    greys are scaled to 8, transparency is dropped.

    Args:
        path: The folder.
        rate: Frames a second.
        strict: Raise at the first picture that cannot be decoded, instead of skipping it.

    Attributes:
        properties: Properties of the frames.
        trouble: Pictures skipped so far, and remarks.
        names: File names of the pictures decoded so far, by frame index.

    Raises:
        InputNotFoundError: The folder does not exist.
        StorageError: The folder cannot be read.
        MediaError: None of its pictures can be decoded.
        UsageError: The rate is not above zero.
    """

    def __init__(
        self, path: str | Path, *, rate: Fraction = Fraction(25), strict: bool = False
    ) -> None:
        self.path = Path(path)
        self.trouble = Trouble()
        self.names: list[str] = []
        if rate <= 0:
            raise UsageError(f"the rate must be above zero, not {rate}")
        self._strict = strict
        if not self.path.exists():
            raise InputNotFoundError(self.path, "folder")
        with storage_errors("cannot read", self.path):
            found = [entry for entry in self.path.iterdir() if _is_picture(entry)]
        self._files = sorted(found, key=lambda entry: natural_order(entry.name))
        if not self._files:
            raise MediaError(
                f"the folder {str(self.path)!r} holds no picture",
                remedy=f"put {', '.join(PICTURE_SUFFIXES)} files into it",
            )
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            raise MediaError(f"not one picture of {str(self.path)!r} can be decoded")
        height, width = self._first[1].shape[:2]
        self.properties = VideoProperties(
            size=(width, height),
            rate=rate,
            time_base=1 / rate,
            colour=assumed_colour(width, height),
            frames=len(self._files),
            duration=len(self._files) / rate,
        )

    def _decode(self) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
        for position, file in enumerate(self._files):
            try:
                yield file, _pixels(file)
            except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    with storage_errors("cannot read", file):
                        raise
                if self._strict:
                    raise MediaError(
                        f"the picture {file.name!r} cannot be decoded: {error}",
                        where=str(file),
                        remedy="leave out --strict to skip and count what is damaged",
                    ) from error
                self.trouble.skip(None)
                self.trouble.remark(f"the picture {file.name!r} ({position}) cannot be decoded")
            except Image.DecompressionBombError as error:
                raise MediaError(f"the picture {file.name!r} is too large: {error}") from error

    def __iter__(self) -> Iterator[Frame]:
        width, height = self.properties.size
        entry, self._first = self._first, None
        while entry is not None:
            file, pixels = entry
            if pixels.shape != (height, width, 3):
                raise MediaError(
                    f"the pictures change from {width} x {height} to {pixels.shape[1]} x "
                    f"{pixels.shape[0]} at {file.name!r}",
                    where=str(file),
                    remedy="all pictures of a folder must have one size",
                )
            self.names.append(file.name)
            index = len(self.names) - 1
            yield Frame(index, index / self.properties.rate, pixels)
            entry = next(self._decoded, None)

    def close(self) -> None:
        """Drop the first picture; nothing stays open."""
        self._first = None


def _is_picture(path: Path) -> bool:
    name = path.name
    return not name.startswith(".") and path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()


def _pixels(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode in _SIXTEEN_BITS:
            grey = np.asarray(upright, np.uint16)
            # 65535 = 255 * 257: black and white stay exact.
            eight = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
            return np.repeat(eight[:, :, None], 3, axis=2)
        return np.array(upright.convert("RGB"), np.uint8)


class PictureFolderWriter(Closing):
    """Writes frames as PNG files into a new folder.

    The frames go into a temporary folder, which is renamed once complete. A folder is replaced only
    if it holds nothing but pictures.

    Args:
        path: The folder.
        properties: Properties of the source.
        names: File names by frame index, such as those of a :class:`PictureFolderReader`, which may
            grow while frames are written; their stems are kept. Others are ``frame_000001.png``...
        source: The source that is read meanwhile.
        overwrite: Replace an existing folder.

    Attributes:
        frames: Number of frames written so far.
        padded: Always (0, 0): any size can be written.
        trouble: Remarks.

    Raises:
        UsageError: The output is the source or lies in it.
        OutputExistsError: The folder may not be replaced, or holds other files than pictures.
        StorageError: The disk is full, read-only or not writeable.
    """

    def __init__(
        self,
        path: str | Path,
        properties: VideoProperties,
        *,
        names: list[str] | None = None,
        source: Path | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.frames = 0
        self.trouble = Trouble()
        self.padded = (0, 0)
        self._size = properties.size
        self._names = names if names is not None else []
        self._used: set[str] = set()
        empty = self.path.is_dir() and not any(self.path.iterdir())
        check_output(self.path, source or properties.audio_from, overwrite=overwrite or empty)
        if self.path.exists():
            _check_replaceable(self.path)
        self._partial = partial_beside(self.path)
        with storage_errors("cannot write", self.path):
            self._partial.mkdir()

    def write(self, pixels: NDArray[np.uint8], time: Fraction) -> None:
        """Write one frame: uint8, H x W x 3, RGB, of the properties' size. The time is not kept."""
        del time
        if pixels.shape != (self._size[1], self._size[0], 3) or pixels.dtype != np.uint8:
            raise UsageError(
                f"a frame of {self._size[0]} x {self._size[1]} is uint8, not {pixels.dtype} "
                f"{pixels.shape}"
            )
        with storage_errors("cannot write", self.path):
            # Level 1 is three times as fast as the default 6, for a tenth more bytes.
            Image.fromarray(pixels).save(self._partial / self._name(), compress_level=1)
        self.frames += 1

    def _name(self) -> str:
        index = self.frames
        stem = Path(self._names[index]).stem if index < len(self._names) else ""
        # Two pictures may differ in their suffixes alone.
        if not stem or stem in self._used:
            stem = f"{stem}_{index + 1:06}" if stem else f"frame_{index + 1:06}"
        self._used.add(stem)
        return f"{stem}.png"

    def finish(self, *, all_sound: bool = True) -> None:
        """Move the finished folder to its place; ``all_sound`` is ignored.

        Raises:
            StorageError: The disk is full; nothing is left of the folder.
            MediaError: No frame was written.
        """
        del all_sound
        try:
            if not self.frames:
                raise MediaError(f"no frame was written to {str(self.path)!r}")
            with storage_errors("cannot write", self.path):
                sync_tree(self._partial)
                if self.path.exists():
                    before = self.path.with_name(partial_name(self.path.name))
                    self.path.rename(before)
                    self._partial.rename(self.path)
                    shutil.rmtree(before)
                else:
                    self._partial.rename(self.path)
        finally:
            self.close()

    def close(self) -> None:
        """Remove an unfinished output; after :meth:`finish` it does nothing."""
        shutil.rmtree(self._partial, ignore_errors=True)


def _check_replaceable(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        raise OutputExistsError(
            f"{str(path)!r} is not a folder, so a folder cannot replace it",
            remedy="choose another name, or one that ends in '.mp4'",
        )
    others = [entry.name for entry in path.iterdir() if not _is_picture(entry)]
    if others:
        raise OutputExistsError(
            f"{str(path)!r} holds other files than pictures ({others[0]!r}), so it is not replaced",
            remedy="choose another name, or remove it yourself",
        )
