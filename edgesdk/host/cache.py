"""Content-addressed cache of slow results.

The key of an entry is a hash of everything that determines its content. The entry records the
hashes of its own files, so an altered or incomplete entry is a miss, never a wrong hit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs

from edgesdk.errors import EdgeSdkError
from edgesdk.host.atomic_write import remove
from edgesdk.host.digest import digest

__all__ = ["Cache", "cache_folder", "key_of", "package_versions"]

_ENTRY = "entry.json"
_FORMAT = 1
_ABANDONED_SECONDS = 24 * 3600

#: The oldest entries are deleted when the cache is larger than this.
DEFAULT_LIMIT_BYTES = 10 * 2**30


def cache_folder() -> Path:
    """Return ``$EDGESDK_CACHE``, else the user's cache folder of this platform."""
    chosen = os.environ.get("EDGESDK_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("edgesdk", False))


def key_of(facts: Mapping[str, Any]) -> str:
    """Hash plain JSON facts; the order of keys does not matter."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def package_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each distribution; missing ones are omitted."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


class Cache:
    """Content-addressed cache on disk.

    Args:
        folder: Folder of the cache; created on the first write.
        limit_bytes: See :data:`DEFAULT_LIMIT_BYTES`.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._folder = folder or cache_folder()
        self._limit = limit_bytes

    def _place(self, key: str) -> Path:
        return self._folder / f"v{_FORMAT}" / key[:2] / key

    def get(self, key: str, into: Path | None = None) -> dict[str, Any] | None:
        """Look up an entry.

        Args:
            key: Key from :func:`key_of`.
            into: Folder to copy the entry's files to; files of the same names are replaced. An
                incomplete entry leaves nothing there.

        Returns:
            The facts it was stored with; None without a complete entry.
        """
        place = self._place(key)
        copied: list[Path] = []
        try:
            entry = json.loads((place / _ENTRY).read_text(encoding="utf-8"))
            facts: dict[str, Any] = entry["facts"]
            if entry["key"] != key or entry["sha256"] != key_of(facts):
                return None
            for name, sha256 in entry["files"].items():
                if into is None:
                    continue
                if name in ("", "..") or name != Path(name).name:
                    raise ValueError(f"{name!r} is not a file of an entry")
                target, source = into / name, place / name
                remove(target)
                copied.append(target)
                _copy(source, target)
                if digest(target) != sha256:
                    raise ValueError(f"{name} differs from the stored file")
            os.utime(place / _ENTRY)
            return facts
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            EdgeSdkError,
        ):
            # Damaged, incomplete or gone: a miss.
            for path in copied:
                with contextlib.suppress(OSError):
                    remove(path)
            return None

    def put(self, key: str, facts: Mapping[str, Any], files: Iterable[Path] = ()) -> bool:
        """Store an entry. On a full or read-only disk nothing is stored and nothing is raised.

        Args:
            key: Key from :func:`key_of`.
            facts: Plain JSON.
            files: Files or folders to copy in, with distinct names.

        Returns:
            True if it was stored.
        """
        place = self._place(key)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
        except OSError:
            return False
        try:
            hashes = {}
            for source in files:
                target = staging / source.name
                _copy(source, target)
                hashes[source.name] = digest(target)
            # Normalize as JSON does: it turns tuples into lists.
            plain = json.loads(json.dumps(dict(facts), allow_nan=False))
            entry = {"key": key, "sha256": key_of(plain), "facts": plain, "files": hashes}
            text = json.dumps(entry, indent=1, allow_nan=False)
            (staging / _ENTRY).write_text(text, encoding="utf-8")
            if place.exists():
                shutil.rmtree(place)
            staging.rename(place)
        except (OSError, EdgeSdkError):
            return False
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self._shrink()
        return place.exists()

    def _shrink(self) -> None:
        for staging in self._folder.glob(f"v{_FORMAT}/*/.new-*"):
            # Leftovers of a process that was killed while writing.
            with contextlib.suppress(OSError):
                if time.time() - staging.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(staging, ignore_errors=True)
        entries = []
        for marker in self._folder.glob(f"v{_FORMAT}/*/*/{_ENTRY}"):
            try:
                size = sum(f.stat().st_size for f in marker.parent.rglob("*") if f.is_file())
                entries.append((marker.stat().st_mtime, size, marker.parent))
            except OSError:
                continue
        total = sum(size for _, size, _ in entries)
        for _, size, place in sorted(entries, key=lambda entry: entry[0]):
            if total <= self._limit:
                return
            shutil.rmtree(place, ignore_errors=True)
            total -= size
