"""A few free photographs whose ImageNet classes are known.

Enough to show on a fresh machine that a converted classifier still sees what the original saw.
Authors and licences are in ``data/photos/README.md``.
"""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["classes", "paths"]

_FOLDER = Path(__file__).parent / "data" / "photos"


def classes() -> dict[str, tuple[str, ...]]:
    """Class names that are right for each photograph, by file name.

    The names are those of ``labels("imagenet1k")``. More than one is right where ImageNet has
    several classes for what is to be seen, such as the kinds of domestic cat.
    """
    known = json.loads((_FOLDER / "classes.json").read_text(encoding="utf-8"))
    return {name: tuple(right) for name, right in known.items()}


def paths() -> tuple[Path, ...]:
    """The photographs, sorted by name: square RGB JPEG files of 288 pixels."""
    return tuple(_FOLDER / name for name in sorted(classes()))
