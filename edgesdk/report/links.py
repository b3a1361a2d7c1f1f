"""Files beside a report that it links to: stylized videos, grids of images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edgesdk.errors import InputNotFoundError
from edgesdk.report.photographs import Photograph, thumbnail

__all__ = ["LinkedFile", "linked_files"]

_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
#: Longer side of a shown picture, large enough for a grid of images.
_SHOWN_PIXELS = 960


@dataclass(frozen=True)
class LinkedFile:
    """A file that the page links to.

    Attributes:
        name: Text of the link.
        address: Address relative to the page.
        size: Size in bytes.
        picture: Small copy as a ``data:`` URI; empty for any file but a picture.
    """

    name: str
    address: str
    size: int
    picture: str = ""


def linked_files(files: list[Path], folder: Path) -> list[LinkedFile]:
    """Describe files that a page in ``folder`` links to.

    Args:
        files: Files on the same disk; the page must move together with them.
        folder: Folder of the page.

    Raises:
        InputSpecError: A picture cannot be read.
        InputNotFoundError: A file does not exist.
    """
    found = []
    for file in files:
        if not file.is_file():
            raise InputNotFoundError(file)
        relative = Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
        # A name with a colon at the beginning would be read as a URL scheme.
        address = quote(relative if relative.startswith("../") else f"./{relative}")
        picture = ""
        if file.suffix.lower() in _PICTURES:
            picture = thumbnail(Photograph(file.name, file), longest=_SHOWN_PIXELS)
        found.append(LinkedFile(file.name, address, file.stat().st_size, picture))
    return found
