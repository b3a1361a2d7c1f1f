"""Photographs as thumbnails small enough to embed in the page."""

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
        name: Name of the sample in the manifest.
        content: Path or bytes of a BMP, JPEG, PNG or WebP file.
    """

    name: str
    content: Path | bytes


def thumbnail(
    photograph: Photograph, *, max_pixels: int = _MAX_PIXELS, longest: int = THUMBNAIL_PIXELS
) -> str:
    """Return the photograph as a small JPEG in a ``data:`` URI.

    Only pixels are kept; place, time and camera in the file are dropped.

    Args:
        photograph: Photograph to scale.
        max_pixels: Most pixels of the file; a larger picture is not decoded.
        longest: Longest side of the JPEG in pixels; a smaller photograph keeps its size.

    Raises:
        InputSpecError: The picture cannot be read, or has more than ``max_pixels``.
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
            if opened.width * opened.height > max_pixels:
                raise InputSpecError(f"{photograph.name!r} has more than {max_pixels} pixels")
            opened.draft("RGB", (2 * longest, 2 * longest))
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputSpecError(
            f"{photograph.name!r} cannot be read as a picture",
            remedy="give a JPEG, PNG, WebP or BMP file",
        ) from error
    upright.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    background = Image.new("RGB", upright.size, "white")
    background.paste(upright, mask=upright.getchannel("A"))
    encoded = io.BytesIO()
    background.save(encoded, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
