"""Read untrusted image files: upright, 8 bits per channel, of limited size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgesdk.errors import InputNotFoundError, InputSpecError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "ARRAY_SUFFIXES",
    "IMAGE_SUFFIXES",
    "is_hidden",
    "pictures_below",
    "read_picture",
    "sample_paths",
]

#: Suffixes of image files.
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

#: Suffixes of files of arrays.
ARRAY_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")

# Images with more pixels are refused before decoding: decompression bombs.
_MAX_PIXELS = 100_000_000
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")


def read_picture(path: Path, mode: str = "RGB", *, backdrop: str | None = None) -> Image.Image:
    """Read an image as it is displayed.

    Args:
        path: JPEG, PNG, WebP or BMP: grey or colour, 8 or 16 bits, with or without a palette and
            EXIF orientation.
        mode: Pillow mode of the result, ``RGB`` or ``L``.
        backdrop: Colour behind transparent pixels; None keeps their hidden colours.

    Raises:
        InputNotFoundError: The file does not exist.
        InputSpecError: The file is not an image, or has too many pixels.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise InputNotFoundError(path, "picture")
    try:
        with warnings.catch_warnings():
            # Our limit is close to the one at which Pillow only warns.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.width * opened.height > _MAX_PIXELS:
                    raise Image.DecompressionBombError
                upright = _eight_bits(ImageOps.exif_transpose(opened) or opened)
                if backdrop is not None and (
                    upright.mode in _TRANSPARENT or "transparency" in upright.info
                ):
                    image = upright.convert("RGBA")
                    behind = Image.new("RGBA", image.size, backdrop)
                    upright = Image.alpha_composite(behind, image)
                return upright.convert(mode)
    except Image.DecompressionBombError as error:
        raise InputSpecError(
            f"{path.name} has more than {_MAX_PIXELS} pixels", remedy="give a smaller picture"
        ) from error
    except Exception as error:
        # Decoders raise various errors for a damaged file: struct.error, EOFError...
        raise InputSpecError(
            f"{path.name} is not a readable picture", remedy="give a JPEG, PNG or WebP file"
        ) from error


def pictures_below(folder: Path) -> list[Path]:
    """List the images in a folder and its subfolders, sorted; hidden files are skipped."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [
            Path(root, name)
            for name in names
            if not is_hidden(name) and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Return True for hidden files and folders: dot files, and those macOS adds to archives."""
    return name.startswith(".") or name == "__MACOSX"


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Convert a 16-bit image to 8 bits: Pillow's own conversion would clip at 255."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    wide = np.asarray(picture).astype(np.int64)
    return Image.fromarray((wide.clip(0, 65535) >> 8).astype(np.uint8))


def sample_paths(given: Iterable[str | os.PathLike[str]]) -> tuple[Path, ...]:
    """List files of samples: files as given, the content of folders sorted by name.

    Raises:
        InputNotFoundError: A path does not exist.
        InputSpecError: A folder without photographs and arrays.
    """
    found: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = sorted(
                child
                for child in path.iterdir()
                if child.suffix.lower() in (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES)
            )
            if not inside:
                raise InputSpecError(
                    f"{path} holds no samples",
                    remedy="put photographs (JPEG, PNG, WebP) or .npz files there",
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputNotFoundError(path)
    return tuple(found)
