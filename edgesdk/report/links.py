"""Files that lie beside a report and belong to it: videos it painted, sheets of pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edgesdk.errors import SourceNotFoundError
from edgesdk.report.photographs import Photograph, thumbnail

__all__ = ["LinkedFile", "linked_files"]

_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
#: Longer side of a picture that is shown; a sheet of pictures is still to be seen.
_SHOWN = 960


@dataclass(frozen=True)
class LinkedFile:
    """A file that the page leads to.

    Attributes:
        name: What the link is called.
        address: Relative to the page.
        size: In bytes.
        picture: A ``data:`` URI of it made small, or empty where it is no picture.
    """

    name: str
    address: str
    size: int
    picture: str = ""


def linked_files(files: list[Path], folder: Path) -> list[LinkedFile]:
    """What a page in ``folder`` says of files.

    Args:
        files: Anywhere on the same disk; the page leads to them by relative addresses, so it moves
            together with them.
        folder: Of the page.

    Raises:
        InputSpecError: A picture that cannot be read.
        SourceNotFoundError: No such file.
    """
    found = []
    for file in files:
        if not file.is_file():
            raise SourceNotFoundError(f"no file {file} to lead to", remedy="check the path")
        relative = Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
        # What begins with a name and a colon would be taken for a scheme.
        address = quote(relative if relative.startswith("../") else f"./{relative}")
        picture = ""
        if file.suffix.lower() in _PICTURES:
            picture = thumbnail(Photograph(file.name, file), longest=_SHOWN)
        found.append(LinkedFile(file.name, address, file.stat().st_size, picture))
    return found
