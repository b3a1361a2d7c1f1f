"""Find the known name or the existing path that a person most likely meant."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["nearest", "nearest_path"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to ``name``; None if none is close."""
    by_folded = {choice.casefold(): choice for choice in known}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def nearest_path(path: str | os.PathLike[str]) -> str | None:
    """Return an existing path whose parts are close to those of ``path``; None if none is."""
    found = Path(Path(path).anchor)
    for part in Path(path).parts[len(found.parts) :]:
        try:
            names = [entry.name for entry in found.iterdir()]
        except OSError:
            return None
        near = part if part in (*names, os.pardir) else nearest(part, names)
        if near is None:
            return None
        found /= near
    return str(found)
