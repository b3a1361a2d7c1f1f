"""A few free photographs with known ImageNet classes.

They show on a fresh machine that a converted classifier agrees with the original.
``data/photos/README.md`` names authors and licences.
"""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["classes", "paths"]

_FOLDER = Path(__file__).parent / "data" / "photos"


def classes() -> dict[str, tuple[str, ...]]:
    """Return the correct class names of each photograph, by file name.

    The names are those of ``labels("imagenet1k")``. A photograph has several if ImageNet has
    several classes for its object, such as the kinds of domestic cat.
    """
    known = json.loads((_FOLDER / "classes.json").read_text(encoding="utf-8"))
    return {name: tuple(right) for name, right in known.items()}


def paths() -> tuple[Path, ...]:
    """Return the photographs, sorted by name: square RGB JPEG files of 288 pixels."""
    return tuple(_FOLDER / name for name in sorted(classes()))
