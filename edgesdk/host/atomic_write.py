"""Write files atomically, on disks that may be full, read-only or without permission.

A file is written beside its place and renamed over it, so a reader sees the old content or the
new, never a part, whatever interrupts the writer. The name of an unfinished file or folder carries
its process, so that the next writer beside it removes what a killed one left.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from edgesdk.errors import EdgeSdkError, StorageError

__all__ = [
    "partial_beside",
    "partial_name",
    "remove",
    "storage_errors",
    "sync",
    "sync_tree",
    "write_atomically",
]

_MARKED = re.compile(
    r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<pid>[0-9]+)-(?P<start>[0-9a-f]{8})-[0-9a-f]{8}\.partial"
)

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
    """Translate operating-system errors of a disk.

    Args:
        doing: Failed action, such as ``cannot write``; the message appends the path.
        path: The file or folder.

    Raises:
        StorageError: For every :class:`OSError` of the block; errors of the SDK pass unchanged.
    """
    try:
        yield
    except EdgeSdkError:
        raise
    except OSError as error:
        reason, remedy = _REASONS.get(error.errno or 0, (error.strerror or str(error), None))
        raise StorageError(f"{doing} {os.fspath(path)!r}: {reason}", remedy=remedy) from error


def partial_name(name: str) -> str:
    """Return a new hidden name beside ``name``, which no later writer removes."""
    return f".{name}.{secrets.token_hex(4)}.partial"


def partial_beside(path: Path) -> Path:
    """Return a new hidden path beside ``path`` for an unfinished file or folder.

    Unfinished ones beside it whose process is dead are removed. Those of living processes, of other
    machines and of other containers stay.

    Args:
        path: Place of the finished file or folder; its parent folder may be missing.
    """
    with contextlib.suppress(OSError):
        for leftover in path.parent.glob(".*.partial"):
            marks = _MARKED.fullmatch(leftover.name)
            if marks is None or marks["machine"] != _machine():
                continue
            if marks["start"] != _started(int(marks["pid"])):
                with contextlib.suppress(OSError):
                    remove(leftover)
    pid = os.getpid()
    mark = f"{_machine()}-{pid}-{_started(pid) or '0' * 8}"
    return path.with_name(f".{path.name}.{mark}-{secrets.token_hex(4)}.partial")


@functools.cache
def _machine() -> str:
    """Identify what numbers the processes: the host, and the container within it."""
    with contextlib.suppress(OSError):
        return _hashed(platform.node(), str(Path("/proc/self/ns/pid").readlink()))
    return _hashed(platform.node())


def _started(pid: int) -> str:
    """Identify a process by its start: numbers are used again. Empty if it is dead."""
    import psutil

    try:
        # Ticks since the start of the system do not move with the clock, unlike times of day.
        content = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        ticks = content.rpartition(")")[2].split()[19]
        return _hashed(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"), ticks)
    except (OSError, IndexError):
        pass
    try:
        return _hashed(str(int(psutil.Process(pid).create_time())))
    except psutil.Error:
        return ""


def _hashed(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` in one step; the old file stays until the new one is on disk.

    Args:
        path: The file; its folder must exist.
        content: The whole content.

    Raises:
        StorageError: The disk is full, read-only or without permission; the old file is untouched.
    """
    beside = partial_beside(path)
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
    """Delete a file, a link or a whole folder, if it exists.

    Raises:
        OSError: It cannot be deleted.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync_tree(root: Path) -> None:
    """Wait until every file and folder under ``root`` has reached the disk.

    Raises:
        OSError: Writing failed; a full disk may show only here.
    """
    for folder, _, names in os.walk(root):
        for name in names:
            sync(Path(folder, name))
        sync(Path(folder))


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk.

    Raises:
        OSError: Writing failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and user-space file systems cannot sync a folder, only its files.
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if not folder or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
