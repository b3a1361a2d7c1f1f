"""Folders of the SDK's own code, and their digest."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

__all__ = ["OWN_FOLDERS", "PACKAGE", "code_digest"]

#: The folder of the package ``edgesdk``.
PACKAGE = Path(__file__).resolve().parents[1]

#: Folders with code of the SDK. In a source tree, two of them are links to its top level.
OWN_FOLDERS = (PACKAGE, (PACKAGE / "converters").resolve(), (PACKAGE / "quant").resolve())


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Hash the SDK's own code, so that a changed converter does not use old cache entries."""
    hasher = hashlib.sha256()
    for folder in OWN_FOLDERS:
        for path in sorted(folder.rglob("*.py")):
            hasher.update(f"{folder.name}/{path.relative_to(folder).as_posix()}".encode())
            hasher.update(path.read_bytes())
    return hasher.hexdigest()
