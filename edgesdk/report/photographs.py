"""Photographs beside the classes that the runtimes saw, small enough to live inside the page."""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from edgesdk.errors import InputSpecError

__all__ = ["THUMBNAIL_PIXELS", "Photograph", "thumbnail"]

#: Longer side of a thumbnail.
THUMBNAIL_PIXELS = 160

_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")
_MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Photograph:
    """A picture that served as a verification sample.

    Attributes:
        name: Name of the sample, as the manifest gives it.
        content: The image file, or its bytes: BMP, JPEG, PNG or WebP.
    """

    name: str
    content: Path | bytes


def thumbnail(
    photograph: Photograph, *, most_pixels: int = _MAX_PIXELS, longest: int = THUMBNAIL_PIXELS
) -> str:
    """The photograph as a small JPEG in a ``data:`` URI.

    Nothing but pixels survives: neither place nor time nor camera that the file may tell.

    Args:
        photograph: The picture.
        most_pixels: A larger one is not even decoded.
        longest: Longer side of the JPEG, at most; a smaller photograph stays as it is.

    Raises:
        InputSpecError: No picture that can be read, or one of more than ``most_pixels``.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    content = photograph.content
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; the limit below decides.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(stream, formats=_FORMATS)
        with opened:
            if opened.width * opened.height > most_pixels:
                raise InputSpecError(f"{photograph.name!r} has more than {most_pixels} pixels")
            opened.draft("RGB", (2 * longest, 2 * longest))
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputSpecError(
            f"{photograph.name!r} is no picture that can be read",
            remedy="give a JPEG, PNG, WebP or BMP file",
        ) from error
    upright.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    ground = Image.new("RGB", upright.size, "white")
    ground.paste(upright, mask=upright.getchannel("A"))
    encoded = io.BytesIO()
    ground.save(encoded, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
