"""A sheet of small pictures: moments of a video, side by side in several versions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgesdk.errors import UsageError
from edgesdk.storage import write_atomically

__all__ = ["ContactSheet", "label_strip", "moments"]

Picture = NDArray[np.uint8]

_MARGIN = 8
_STRIP = 22
_TEXT = 13
_PAPER, _INK, _KEY = (250, 250, 250), (30, 30, 30), (214, 80, 20)
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def moments(frames: int, rows: int) -> tuple[int, ...]:
    """Frame indices spread evenly over a video: the middles of ``rows`` equal parts."""
    rows = max(1, min(rows, frames))
    return tuple(sorted({(2 * row + 1) * frames // (2 * rows) for row in range(rows)}))


def label_strip(labels: Sequence[str], width: int) -> Picture:
    """A strip with one label for each of several pictures side by side.

    Args:
        labels: From left to right.
        width: Of each picture, pixels.

    Returns:
        uint8, 22 x (width times labels) x 3.
    """
    strip = Image.new("RGB", (width * len(labels), _STRIP), _PAPER)
    draw = ImageDraw.Draw(strip)
    for place, label in enumerate(labels):
        draw.text((place * width + 6, 3), label, fill=_INK, font=_font())
    return np.asarray(strip, np.uint8)


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=_TEXT)


class ContactSheet:
    """Collects rows and draws them: a row for each moment, a column for each version.

    Args:
        columns: Their names.
        width: Of each small picture, pixels.
    """

    def __init__(self, columns: Sequence[str], *, width: int = 320) -> None:
        self._columns = tuple(columns)
        self._width = width
        self._rows: list[tuple[str, bool, list[Image.Image]]] = []

    def add(
        self,
        pictures: Sequence[Picture],
        *,
        index: int,
        time: Fraction,
        key: bool = False,
        reasons: Sequence[str] = (),
    ) -> None:
        """Add a moment.

        Args:
            pictures: uint8, H x W x 3, one a column, of one size; scaled down and not kept.
            index: Of the frame.
            time: Of the frame, seconds.
            key: Whether it is a key frame, which is marked.
            reasons: Why it is one.

        Raises:
            UsageError: Not as many pictures as columns.
        """
        if len(pictures) != len(self._columns):
            raise UsageError(f"{len(pictures)} pictures for {len(self._columns)} columns")
        height, width = pictures[0].shape[:2]
        small = (min(self._width, width), max(1, round(height * min(self._width / width, 1))))
        images = [
            Image.fromarray(picture).resize(small, Image.Resampling.BOX) for picture in pictures
        ]
        text = f"{float(time):.2f} s   frame {index}"
        if key:
            text += f"   key frame: {', '.join(reasons).replace('_', ' ')}"
        self._rows.append((text, key, images))

    def image(self) -> Image.Image:
        """The sheet, RGB.

        Raises:
            UsageError: It has no row.
        """
        if not self._rows:
            raise UsageError("a contact sheet needs a moment")
        width, height = self._rows[0][2][0].size
        step = height + _STRIP + _MARGIN
        size = (
            _MARGIN + (width + _MARGIN) * len(self._columns),
            _MARGIN + _STRIP + step * len(self._rows),
        )
        sheet = Image.new("RGB", size, _PAPER)
        draw = ImageDraw.Draw(sheet)
        for place, name in enumerate(self._columns):
            draw.text((_MARGIN + place * (width + _MARGIN), 4), name, fill=_INK, font=_font())
        for row, (text, key, images) in enumerate(self._rows):
            top = _MARGIN + _STRIP + row * step
            draw.text((_MARGIN, top), text, fill=_KEY if key else _INK, font=_font())
            for place, image in enumerate(images):
                corner = (_MARGIN + place * (width + _MARGIN), top + _STRIP - 4)
                sheet.paste(image, corner)
                if key:
                    box = (
                        corner[0] - 2,
                        corner[1] - 2,
                        corner[0] + width + 1,
                        corner[1] + height + 1,
                    )
                    draw.rectangle(box, outline=_KEY, width=2)
        return sheet

    def save(self, path: str | Path) -> None:
        """Write the sheet as PNG or JPEG, in one step.

        Raises:
            UsageError: Another ending, or no row.
            StorageError: The disk refuses.
        """
        target = Path(path)
        kind = _FORMATS.get(target.suffix.lower())
        if kind is None:
            raise UsageError(
                f"{str(target)!r} does not end like a contact sheet",
                remedy=f"choose one of {', '.join(sorted(_FORMATS))}",
            )
        content = io.BytesIO()
        self.image().save(content, kind, **({"quality": 92} if kind == "JPEG" else {}))
        write_atomically(target, content.getvalue())
