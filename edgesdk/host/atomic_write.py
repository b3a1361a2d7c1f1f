"""Writing to disks that may be full, read-only or somebody else's.

A file is written beside its place and renamed over it, so a reader meets the old content or the
new and never a half, whatever interrupts the writer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from edgesdk.errors import EdgeSdkError, StorageError

__all__ = ["partial_name", "remove", "storage_errors", "sync", "sync_tree", "write_atomically"]

_REASONS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "free some space or choose another disk"),
    errno.EDQUOT: ("your disk quota is used up", "free some space or choose another disk"),
    errno.EFBIG: (
        "the file would be larger than the file system or the limit of this process allows",
        "raise the limit (`ulimit -f`) or choose another disk",
    ),
    errno.EROFS: ("the file system is read-only", "choose a folder that you may write to"),
    errno.EACCES: ("no permission", "choose a folder that is yours, or change its permissions"),
    errno.EPERM: ("no permission", "choose a folder that is yours, or change its permissions"),
    errno.ENOENT: ("no such file or folder", "create the folder first, or correct the path"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "correct the path"),
    errno.ENAMETOOLONG: ("the name is too long for the file system", "choose a shorter name"),
    errno.EIO: ("the disk reports a fault", "check the disk and try again"),
}


@contextlib.contextmanager
def storage_errors(doing: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the operating system says of a disk into a sentence.

    Args:
        doing: What was being done, such as ``cannot write``; the path follows it.
        path: What it was done to.

    Raises:
        StorageError: For every :class:`OSError` of the body; errors of the SDK pass unchanged.
    """
    try:
        yield
    except EdgeSdkError:
        raise
    except OSError as error:
        told, remedy = _REASONS.get(error.errno or 0, (error.strerror or str(error), None))
        raise StorageError(f"{doing} {os.fspath(path)!r}: {told}", remedy=remedy) from error


def partial_name(name: str) -> str:
    """A fresh hidden name beside ``name`` for what is not finished yet."""
    return f".{name}.{secrets.token_hex(4)}.partial"


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` in one step; the old file stays until the new one is on disk.

    Args:
        path: The file; its folder must exist.
        content: All of it.

    Raises:
        StorageError: The disk is full, read-only or not ours; the old file is untouched.
    """
    beside = path.with_name(partial_name(path.name))
    with storage_errors("cannot write", path):
        try:
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync(path.parent)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder; nothing happens where there is none.

    Raises:
        OSError: The disk refuses.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync_tree(root: Path) -> None:
    """Wait until every file and folder under ``root`` has reached the disk.

    Raises:
        OSError: The disk refuses; a full disk may say so only here.
    """
    for folder, _, names in os.walk(root):
        for name in names:
            sync(Path(folder, name))
        sync(Path(folder))


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and user-space file systems cannot sync a folder; its files are synced.
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if not folder or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
