"""Pictures read from files that may be anything: upright, eight bits a channel, of a sane size."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgesdk.errors import InputSpecError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["IMAGE_SUFFIXES", "is_hidden", "pictures_below", "read_picture"]

#: Files that are taken for pictures.
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

# A picture of more pixels than this is refused unread: decompression bombs.
_MAX_PIXELS = 100_000_000
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")


def read_picture(path: Path, mode: str = "RGB", *, backdrop: str | None = None) -> Image.Image:
    """Read a picture as it is seen.

    Args:
        path: JPEG, PNG, WebP or BMP: grey or colour, 8 or 16 bits, with a palette or without,
            turned by its EXIF orientation or not.
        mode: Pillow's name of what to return, ``RGB`` or ``L``.
        backdrop: Colour behind transparent places; None shows whatever the file hides there.

    Raises:
        InputSpecError: There is no such file, it is no picture, or it has too many pixels.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise InputSpecError(f"no picture {path}", remedy="check the path")
    try:
        with warnings.catch_warnings():
            # Our own limit lies close to the one that Pillow only warns of.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.width * opened.height > _MAX_PIXELS:
                    raise Image.DecompressionBombError
                upright = _eight_bits(ImageOps.exif_transpose(opened) or opened)
                if backdrop is not None and (
                    upright.mode in _TRANSPARENT or "transparency" in upright.info
                ):
                    seen = upright.convert("RGBA")
                    behind = Image.new("RGBA", seen.size, backdrop)
                    upright = Image.alpha_composite(behind, seen)
                return upright.convert(mode)
    except Image.DecompressionBombError as error:
        raise InputSpecError(
            f"{path.name} has more than {_MAX_PIXELS} pixels", remedy="give a smaller picture"
        ) from error
    except Exception as error:
        # What a decoder raises on a damaged file depends on the format: struct.error, EOFError...
        raise InputSpecError(
            f"{path.name} is no picture that can be read", remedy="give a JPEG, PNG or WebP file"
        ) from error


def pictures_below(folder: Path) -> list[Path]:
    """Every picture in a folder and its sub-folders, sorted; hidden files are left out."""
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
    """Whether a file or folder is none of the user's: dot files, what macOS adds to archives."""
    return name.startswith(".") or name == "__MACOSX"


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A picture of 16 bits a pixel in 8: Pillow's own conversion would cut at 255."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    wide = np.asarray(picture).astype(np.int64)
    return Image.fromarray((wide.clip(0, 65535) >> 8).astype(np.uint8))
