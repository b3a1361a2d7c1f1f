"""List and open files of an untrusted folder without following links or opening devices.

Every access goes through folder descriptors, one component at a time and never through a symbolic
link, so a folder that changes while it is read cannot lead the reader outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgesdk.errors import (
    BundleDamagedError,
    BundleError,
    BundleUnsafeError,
    InputNotFoundError,
    StorageError,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_ENTRIES",
    "MAX_TOTAL_BYTES",
    "Inventory",
    "check_name",
    "check_names",
    "file_descriptor",
    "reading",
    "take_inventory",
]

#: Largest number of files and folders in a bundle, at any depth.
MAX_ENTRIES = 10_000
#: Largest depth of nested folders.
MAX_DEPTH = 32
#: Largest total size of all files; a sparse file can claim more than any disk holds.
MAX_TOTAL_BYTES = 64 * 2**30

_MAX_PATH = 500
_MAX_COMPONENT_BYTES = 255
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class Inventory:
    """Content of a folder, by POSIX path relative to it.

    Attributes:
        files: Size in bytes of every file.
        folders: All folders except the root itself.
    """

    files: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def under(self, folder: str) -> dict[str, int]:
        """Return the size of every file below ``folder``, by path."""
        prefix = f"{folder}/"
        return {path: size for path, size in self.files.items() if path.startswith(prefix)}

    def size(self, path: str) -> int | None:
        """Return the bytes of a file or of all files of a folder; None if neither exists."""
        if path in self.files:
            return self.files[path]
        return sum(self.under(path).values()) if path in self.folders else None


def check_name(path: str) -> str:
    """Refuse a path that leaves its folder or differs in meaning between systems.

    Args:
        path: POSIX path relative to the bundle.

    Returns:
        The path itself.

    Raises:
        BundleUnsafeError: It is absolute, climbs, or has names that are not portable.
    """
    trouble = _trouble(path)
    if trouble:
        shown = path if len(path) <= 80 else f"{path[:80]}..."
        raise BundleUnsafeError(
            f"the path {shown!r} {trouble}",
            remedy="do not use this bundle unless you know who made it",
        )
    return path


def _trouble(path: str) -> str | None:
    if not path or len(path) > _MAX_PATH:
        return "is empty" if not path else f"is longer than {_MAX_PATH} characters"
    # Check this first: NUL ends a path for the system, a newline forges a line of a digest.
    if not path.isprintable():
        return "holds characters that cannot be printed"
    if path.startswith("/"):
        return "is absolute"
    if "\\" in path:
        return "holds a backslash"
    if ":" in path:
        return "holds a colon, which denotes a drive or a stream on some systems"
    parts = path.split("/")
    if ".." in parts or "." in parts:
        return "climbs with '.' or '..'"
    if "" in parts:
        return "holds an empty name"
    if any(part != part.rstrip(". ") for part in parts):
        return "holds a name that ends in a dot or a space"
    if any(len(part.encode()) > _MAX_COMPONENT_BYTES for part in parts):
        return f"holds a name longer than {_MAX_COMPONENT_BYTES} bytes"
    return None


def _folded(path: str) -> str:
    # Phones and Macs treat names that differ only in case or composed accents as one file.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def check_names(paths: Iterable[str]) -> None:
    """Refuse unsafe paths, paths that are one file on some systems, and files inside files.

    Raises:
        BundleUnsafeError: A path is unsafe, occurs twice, differs from another only in case or
            composition, or lies inside another.
    """
    seen: dict[str, str] = {}
    for path in paths:
        folded = _folded(check_name(path))
        if folded in seen:
            other = seen[folded]
            raise BundleUnsafeError(
                f"the path {path!r} occurs twice"
                if other == path
                else f"the paths {other!r} and {path!r} are one file on many systems",
                remedy="give every file a name that differs in more than case",
            )
        seen[folded] = path
    for folded, path in seen.items():
        parts = folded.split("/")
        for end in range(1, len(parts)):
            outer = seen.get("/".join(parts[:end]))
            if outer is not None:
                raise BundleUnsafeError(f"the path {path!r} lies inside {outer!r}, which is a file")


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Translate operating-system errors while ``name`` is read.

    Raises:
        BundleDamagedError: The file does not exist, or disappeared meanwhile.
        BundleUnsafeError: A link or a device replaces the file.
        StorageError: Permission is missing or the disk fails.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ESTALE):
            raise BundleDamagedError(
                f"{name!r} is missing or disappeared while it was read",
                remedy="copy the bundle again, or export it again",
            ) from error
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            raise BundleUnsafeError(f"{name!r} is not a plain file: {reason}") from error
        raise StorageError(
            f"cannot read {name!r}: {reason}", remedy="check its permissions and the disk"
        ) from error


def take_inventory(root: Path) -> Inventory:
    """List everything under ``root``; refuse the first unsafe entry.

    Args:
        root: The folder; links in its own path are followed.

    Raises:
        InputNotFoundError: ``root`` does not exist.
        BundleError: ``root`` is not a folder.
        BundleUnsafeError: A link, a device, an unsafe or colliding name, or limits exceeded.
        StorageError: Permission is missing or the disk fails.
    """
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except FileNotFoundError as error:
        raise InputNotFoundError(
            root, "bundle", remedy="check the path, or make one with edgesdk export"
        ) from error
    except NotADirectoryError as error:
        raise BundleError(
            f"{str(root)!r} is not a folder, but a bundle is one",
            remedy="give the folder NAME.edge itself; unpack an archive first",
        ) from error
    except ValueError as error:  # a NUL in the path
        raise BundleError(f"{str(root)!r} cannot be the path of a bundle") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise BundleError(f"{str(root)!r} cannot be opened: {error.strerror}") from error
        raise StorageError(
            f"cannot open the bundle {str(root)!r}: {error.strerror}",
            remedy="check its permissions and the disk",
        ) from error
    found = Inventory()
    try:
        _look(descriptor, "", 0, found)
    finally:
        os.close(descriptor)
    if sum(found.files.values()) > MAX_TOTAL_BYTES:
        raise BundleUnsafeError(f"its files claim more than {MAX_TOTAL_BYTES // 2**30} GiB")
    _check_siblings(found)
    return found


def _check_siblings(found: Inventory) -> None:
    """Refuse names that some systems treat as one.

    Raises:
        BundleUnsafeError: Two names in one folder differ only in case or composition.
    """
    seen: dict[str, str] = {}
    for path in (*found.files, *found.folders):
        other = seen.setdefault(_folded(path), path)
        if other != path:
            raise BundleUnsafeError(
                f"the paths {other!r} and {path!r} are one file on many systems"
            )


def _look(folder: int, prefix: str, depth: int, found: Inventory) -> None:
    if depth > MAX_DEPTH:
        raise BundleUnsafeError(f"folders lie more than {MAX_DEPTH} deep: {prefix[:80]!r}...")
    with reading(prefix or "the bundle"), os.scandir(folder) as entries:
        for entry in entries:
            if len(found.files) + len(found.folders) >= MAX_ENTRIES:
                raise BundleUnsafeError(f"it holds more than {MAX_ENTRIES} files and folders")
            path = check_name(prefix + entry.name)
            with reading(path):
                status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.files[path] = status.st_size
            elif stat.S_ISDIR(status.st_mode):
                found.folders.add(path)
                with reading(path):
                    inner = os.open(entry.name, _FLAGS | os.O_DIRECTORY, dir_fd=folder)
                try:
                    _look(inner, f"{path}/", depth + 1, found)
                finally:
                    os.close(inner)
            else:
                _refuse_special(status.st_mode, path)


def _refuse_special(mode: int, path: str) -> None:
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise BundleUnsafeError(
            f"{path!r} is {_KINDS.get(stat.S_IFMT(mode), 'a special file')} or lies behind one, "
            "and a bundle holds plain files only",
            remedy="do not use this bundle unless you know who made it",
        )


@contextlib.contextmanager
def file_descriptor(root: Path, path: str) -> Iterator[int]:
    """Open a plain file under ``root`` for reading, through folders only.

    Args:
        root: The folder; links in its own path are followed.
        path: POSIX path relative to it.

    Yields:
        A descriptor, closed afterwards. It never blocks, whatever the path is.

    Raises:
        BundleUnsafeError: The path is unsafe, has a link, or is not a plain file.
        BundleDamagedError: The file does not exist.
        StorageError: Permission is missing or the disk fails.
    """
    *parents, name = check_name(path).split("/")
    with contextlib.ExitStack() as opened, reading(path):
        folder = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        opened.callback(os.close, folder)
        for parent in parents:
            _refuse_special(os.stat(parent, dir_fd=folder, follow_symlinks=False).st_mode, path)
            folder = os.open(parent, _FLAGS | os.O_DIRECTORY, dir_fd=folder)
            opened.callback(os.close, folder)
        # Opening a device can have effects, and opening a pipe waits for its writer.
        _refuse_special(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode, path)
        descriptor = os.open(name, _FLAGS | os.O_NONBLOCK, dir_fd=folder)
        opened.callback(os.close, descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleDamagedError(f"{path!r} is not a file")
        yield descriptor
