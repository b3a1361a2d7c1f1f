"""Draw the sheet of the shipped styles, ``docs/styles.jpg``, from held-out photographs.

    python scripts/style_sheet.py --data DIR

``DIR`` holds ``photos`` and ``paintings``, as for scripts/train_shipped_styles.py. Photographs are
painted with a longer side of 512 pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from edgesdk import models
from edgesdk.host.image_files import pictures_below, read_picture
from edgesdk.models.weight_cards import shipped_card
from edgesdk.training.style.network_painter import network_painter
from edgesdk.video.image_grid import PictureSheet

LONGEST = 512
HELD_PHOTOGRAPHS = 11
SHOWN = 184
#: Held-out photographs with visible detail at this size.
CHOSEN = (2, 8, 15, 18)


def photograph(path: Path) -> np.ndarray:
    """Load a photograph, scaled and cropped to multiples of 8."""
    picture = read_picture(path, backdrop="white")
    scale = LONGEST / max(picture.size)
    width, height = (max(16, round(side * scale) // 8 * 8) for side in picture.size)
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def square(pixels: np.ndarray) -> np.ndarray:
    """Return the centre square."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def main() -> None:
    """Paint the photographs and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/styles.jpg"))
    parser.add_argument("--photographs", type=int, nargs="+", default=CHOSEN)
    given = parser.parse_args()
    held = pictures_below(given.data / "photos")[::HELD_PHOTOGRAPHS]
    shown = [photograph(held[place]) for place in given.photographs]
    network: Any = models.create("multi_style")
    styles = shipped_card("multi_style")["styles"]
    # Two styles per row.
    columns = ["", *[""] * len(shown)] * 2
    sheet = PictureSheet(columns, width=SHOWN)
    sheet.add_row([None, *map(square, shown)] * 2, "held-out photographs")
    for left in range(0, len(styles), 2):
        row: list[np.ndarray | None] = []
        for style in range(left, min(left + 2, len(styles))):
            original = read_picture(given.data / "paintings" / styles[style]["file"])
            row += [square(np.asarray(original))]
            paint = network_painter(network, torch.eye(len(styles))[style])
            row += [square(paint(pixels)) for pixels in shown]
        row += [None] * (len(columns) - len(row))
        names = [style["name"] for style in styles[left : left + 2]]
        sheet.add_row(row, " and ".join(names))
    sheet.save(given.output)


if __name__ == "__main__":
    main()
