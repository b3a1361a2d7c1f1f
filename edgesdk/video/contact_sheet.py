"""A contact sheet: moments of a video, side by side in several versions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgesdk.video.frames import PaintedFrame
from edgesdk.video.image_grid import PAPER, STRIP, PictureSheet, label_font

__all__ = ["ContactSheet", "label_strip", "moments"]

Picture = NDArray[np.uint8]

_INK = (30, 30, 30)


def moments(frames: int, rows: int) -> tuple[int, ...]:
    """Return frame indices spread evenly over a video: the middles of ``rows`` equal parts."""
    rows = max(1, min(rows, frames))
    return tuple(sorted({(2 * row + 1) * frames // (2 * rows) for row in range(rows)}))


def label_strip(labels: Sequence[str], width: int) -> Picture:
    """Draw a strip of labels for pictures side by side: uint8, 22 x (width times labels) x 3.

    Args:
        labels: Labels from left to right.
        width: Width of each picture, pixels.
    """
    strip = Image.new("RGB", (width * len(labels), STRIP), PAPER)
    draw = ImageDraw.Draw(strip)
    for place, label in enumerate(labels):
        draw.text((place * width + 6, 3), label, fill=_INK, font=label_font())
    return np.asarray(strip, np.uint8)


class ContactSheet(PictureSheet):
    """A row for each moment, a column for each version."""

    def add(self, pictures: Sequence[Picture], frame: PaintedFrame) -> None:
        """Add a moment.

        Args:
            pictures: uint8, H x W x 3, one a column, of one size; scaled down and not kept.
            frame: The painted frame; a key frame is marked.

        Raises:
            UsageError: The numbers of pictures and columns differ.
        """
        label = f"{float(frame.time):.2f} s   frame {frame.index}"
        if frame.key:
            label += f"   key frame: {', '.join(frame.reasons).replace('_', ' ')}"
        self.add_row(pictures, label, marked=frame.key)
