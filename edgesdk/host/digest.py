"""Content hashes of files and folders, equal on every machine.

The digest of a folder is that of its listing: one line ``sha256  relative/path`` per file, sorted
bytewise, each ending in a newline. ``find . -type f`` with ``sha256sum`` and ``LC_ALL=C sort``
computes the same.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from edgesdk.errors import BundleDamagedError, BundleUnsafeError
from edgesdk.host.untrusted_folder import file_descriptor, reading, take_inventory

__all__ = ["digest", "folder_digest", "stream_digest"]

_BLOCK = 1 << 20


def digest(path: str | os.PathLike[str]) -> str:
    """Compute the SHA-256 of a file, or of a folder's listing.

    Args:
        path: A plain file or a folder of plain files.

    Returns:
        64 lower-case hexadecimal digits.

    Raises:
        BundleDamagedError: The path does not exist.
        BundleUnsafeError: It is or contains a link, a pipe or a device.
        StorageError: It cannot be read.
    """
    # Links in the path itself are followed; links inside are not.
    location = Path(path)
    with reading(location.name):
        mode = location.stat().st_mode
    if stat.S_ISDIR(mode):
        return folder_digest(location, take_inventory(location).files)
    if not stat.S_ISREG(mode):
        raise BundleUnsafeError(f"{location.name!r} is not a plain file")
    with reading(location.name):
        descriptor = os.open(location, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return stream_digest(descriptor, os.fstat(descriptor).st_size, location.name)
    finally:
        os.close(descriptor)


def folder_digest(root: Path, files: Mapping[str, int], folder: str = "") -> str:
    """Compute the SHA-256 of a folder's listing.

    Args:
        root: Folder that the paths of ``files`` are relative to.
        files: Size of each file of the folder, by path.
        folder: Path of the folder, which the listing omits; empty for ``root`` itself.

    Raises:
        BundleDamagedError: A file is missing or has another size.
        BundleUnsafeError: A path is not a plain file.
        StorageError: A file cannot be read.
    """
    lines = []
    for path, size in files.items():
        with file_descriptor(root, path) as descriptor:
            sha256 = stream_digest(descriptor, size, path)
        inner = path.removeprefix(f"{folder}/") if folder else path
        lines.append(f"{sha256}  {inner}\n".encode())
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()


def stream_digest(descriptor: int, size: int, name: str) -> str:
    """Compute the SHA-256 of an open file that must have ``size`` bytes.

    Args:
        descriptor: File descriptor at the start of the file.
        size: Required size in bytes.
        name: Name of the file in errors.

    Raises:
        BundleDamagedError: It has another size, or changes while it is read.
        StorageError: It cannot be read.
    """
    with reading(name):
        present = os.fstat(descriptor).st_size
        if present != size:
            raise BundleDamagedError(
                f"{name!r} has {present} bytes where {size} are expected",
                remedy="copy the bundle again, or export it again",
            )
        hashed, left = hashlib.sha256(), size
        while left and (block := os.read(descriptor, min(_BLOCK, left))):
            hashed.update(block)
            left -= len(block)
        if left or os.read(descriptor, 1):
            raise BundleDamagedError(f"{name!r} changed while it was read")
    return hashed.hexdigest()
