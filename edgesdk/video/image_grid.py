"""A sheet of small pictures in labelled rows and columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgesdk.errors import UsageError
from edgesdk.host.atomic_write import write_atomically

__all__ = ["PAPER", "STRIP", "PictureSheet", "label_font"]

Picture = NDArray[np.uint8]

#: Background colour, and height of a line of text in pixels.
PAPER = (250, 250, 250)
STRIP = 22
_MARGIN = 8
_TEXT = 13
_INK, _MARKED = (30, 30, 30), (214, 80, 20)
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def label_font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return the font of labels."""
    return ImageFont.load_default(size=_TEXT)


class PictureSheet:
    """Collects rows of pictures and draws them.

    Args:
        columns: Names of the columns.
        width: Width of each small picture, pixels.
    """

    def __init__(self, columns: Sequence[str], *, width: int = 320) -> None:
        self._columns = tuple(columns)
        self._width = width
        self._rows: list[tuple[str, bool, list[Image.Image]]] = []

    def add_row(
        self, pictures: Sequence[Picture | None], label: str, *, marked: bool = False
    ) -> None:
        """Add a row.

        Args:
            pictures: uint8, H x W x 3, one a column; None for an empty cell. Not kept.
            label: Text above the row.
            marked: True highlights the row.

        Raises:
            UsageError: The numbers of pictures and columns differ, or every cell is empty.
        """
        if len(pictures) != len(self._columns) or all(picture is None for picture in pictures):
            given = sum(picture is not None for picture in pictures)
            raise UsageError(f"{given} pictures for {len(self._columns)} columns")
        blank = Image.new("RGB", (1, 1), PAPER)
        images = [blank if picture is None else self._small(picture) for picture in pictures]
        self._rows.append((label, marked, images))

    def _small(self, picture: Picture) -> Image.Image:
        height, width = picture.shape[:2]
        size = (min(self._width, width), max(1, round(height * min(self._width / width, 1))))
        return Image.fromarray(picture).resize(size, Image.Resampling.BOX)

    def image(self) -> Image.Image:
        """Draw the sheet, RGB.

        Raises:
            UsageError: The sheet has no row.
        """
        if not self._rows:
            raise UsageError("a sheet of pictures needs at least one row")
        width = max(image.width for _, _, images in self._rows for image in images)
        heights = [max(image.height for image in images) for _, _, images in self._rows]
        size = (
            _MARGIN + (width + _MARGIN) * len(self._columns),
            _MARGIN + STRIP + sum(height + STRIP + _MARGIN for height in heights),
        )
        sheet = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(sheet)
        for place, name in enumerate(self._columns):
            draw.text((_MARGIN + place * (width + _MARGIN), 4), name, fill=_INK, font=label_font())
        top = _MARGIN + STRIP
        for (label, marked, images), height in zip(self._rows, heights, strict=True):
            colour = _MARKED if marked else _INK
            draw.text((_MARGIN, top), label, fill=colour, font=label_font())
            for place, image in enumerate(images):
                left, upper = _MARGIN + place * (width + _MARGIN), top + STRIP - 4
                sheet.paste(image, (left, upper))
                if marked:
                    box = (left - 2, upper - 2, left + image.width + 1, upper + image.height + 1)
                    draw.rectangle(box, outline=_MARKED, width=2)
            top += height + STRIP + _MARGIN
        return sheet

    def save(self, path: str | Path) -> None:
        """Write the sheet as PNG or JPEG, atomically.

        Raises:
            UsageError: The suffix is another one, or the sheet has no row.
            StorageError: The file cannot be written.
        """
        target = Path(path)
        kind = _FORMATS.get(target.suffix.lower())
        if kind is None:
            raise UsageError(
                f"{str(target)!r} does not have the suffix of a picture",
                remedy=f"choose one of {', '.join(sorted(_FORMATS))}",
            )
        content = io.BytesIO()
        self.image().save(content, kind, **({"quality": 92} if kind == "JPEG" else {}))
        write_atomically(target, content.getvalue())
