"""Write a bundle that appears complete or not at all.

Files are collected in a hidden folder beside the bundle, checked as a reader would check them, and
renamed into place last.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileRecord,
    Manifest,
    file_record,
    is_manifest,
    manifest_bytes,
)
from edgesdk.errors import (
    BundleError,
    BundleUnsafeError,
    OutputExistsError,
    StorageError,
    UsageError,
)
from edgesdk.host.atomic_write import (
    partial_beside,
    partial_name,
    remove,
    storage_errors,
    sync,
    sync_tree,
)
from edgesdk.host.untrusted_folder import check_name, check_names, take_inventory

__all__ = ["BundleWriter"]


class BundleWriter:
    """Write one bundle, as a context manager::

        with BundleWriter("net.edge") as writer:
            record = writer.add(converted, "net.onnx")
            bundle = writer.commit(manifest)

    Leaving the block without :meth:`commit` leaves nothing behind. Staging folders of other
    processes, running or dead, are never touched.

    Args:
        path: Folder to write; its parent must exist.
        overwrite: Replace an existing bundle. A folder that is not a bundle is never replaced.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.overwrite = overwrite
        # A later change of the working directory must not move the bundle.
        self._place = self.path.absolute()
        self._staging: Path | None = None
        self._aside: Path | None = None
        self._names: list[str] = [MANIFEST_NAME]

    def __enter__(self) -> Self:
        """Make the staging folder.

        Raises:
            UsageError: The path cannot name a folder.
            OutputExistsError: The path exists already.
            StorageError: The parent folder is missing, full, read-only or without permission.
        """
        if self.path.name in ("", "..") or not str(self.path).isprintable():
            raise UsageError(
                f"{str(self.path)!r} cannot be the name of a bundle",
                remedy="give a path such as net.edge",
            )
        self._check_place()
        self._staging = partial_beside(self._place)
        try:
            with storage_errors("cannot write a bundle beside", self.path):
                self._staging.mkdir()
        except BaseException as error:
            self._clean_up(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clean_up(error)

    @property
    def folder(self) -> Path:
        """Staging folder; files written into it become part of the bundle."""
        if self._staging is None:
            raise UsageError(
                "the bundle is not being written",
                remedy="use BundleWriter in a with statement, and not after commit()",
            )
        return self._staging

    def add(self, source: str | os.PathLike[str], name: str) -> FileRecord:
        """Add a file or a folder (``.mlpackage``) to the bundle.

        Files in the staging folder are moved, all others are copied.

        Args:
            source: The file or folder. It may be reached through a link, but must hold none.
            name: POSIX path in the bundle.

        Returns:
            Its record for the manifest.

        Raises:
            UsageError: ``source`` does not exist.
            BundleError: The name is taken.
            BundleUnsafeError: The name is not allowed, or ``source`` holds links or devices.
            StorageError: The disk is full, read-only or without permission.
        """
        folder = self.folder.resolve()
        check_names([*self._names, name])
        destination = folder / check_name(name)
        with storage_errors("cannot read", source):
            if not Path(source).exists():
                raise UsageError(f"there is no file {str(source)!r} to add to the bundle")
            origin = Path(source).resolve()
        if origin != destination:
            if os.path.lexists(destination):
                raise BundleError(f"the bundle already has a file {name!r}")
            with storage_errors("cannot write", self.path / name):
                try:
                    destination.parent.mkdir(parents=True, exist_ok=True)
                    if origin.is_relative_to(folder):
                        origin.rename(destination)
                    else:
                        _copy(origin, destination)
                except BaseException:
                    # A caller may continue without this file, so remove the partial copy.
                    remove(destination)
                    raise
        record = file_record(folder, name)
        self._names.append(name)
        return record

    def commit(self, manifest: Manifest) -> Bundle:
        """Check the bundle as a reader does, and move it into place atomically.

        Args:
            manifest: The manifest, with the records that :meth:`add` returned.

        Returns:
            The bundle, opened and checked.

        Raises:
            BundleError: The manifest does not fit the files, see :meth:`Bundle.open`.
            OutputExistsError: The path has come into existence meanwhile.
            StorageError: The disk is full, read-only or without permission; the old bundle stays.
        """
        folder = self.folder
        content = manifest_bytes(manifest)
        with storage_errors("cannot write", self.path):
            (folder / MANIFEST_NAME).write_bytes(content)
            sync_tree(folder)
        try:
            Bundle.open(folder)
        except BundleError as error:
            error.where = str(self.path)
            raise
        self._check_place()
        with storage_errors("cannot write", self.path):
            self._put_in_place(folder)
        self._clean_up(None)
        return Bundle(self.path, manifest)

    def _check_place(self) -> None:
        if not os.path.lexists(self._place):
            return
        if not self.overwrite:
            raise OutputExistsError(
                f"{str(self.path)!r} already exists",
                remedy="give --overwrite to replace it, or another --output",
            )
        with storage_errors("cannot look into", self.path):
            if not _replaceable(self._place):
                raise OutputExistsError(
                    f"{str(self.path)!r} is not a bundle, so it is not replaced",
                    remedy="give another --output, or remove it yourself",
                )

    def _put_in_place(self, folder: Path) -> None:
        if os.path.lexists(self._place):
            self._aside = self._place.with_name(partial_name(self._place.name))
            try:
                self._place.rename(self._aside)
                folder.rename(self._place)
            except BaseException:
                # An interruption may follow either rename: restore the old bundle unless the new
                # one is in place.
                if not os.path.lexists(self._place):
                    self._aside.rename(self._place)
                raise
        else:
            folder.rename(self._place)
        sync(self._place.parent)

    def _clean_up(self, error: BaseException | None) -> None:
        # Remove the old bundle only once the new one is in place.
        arrived = self._staging is not None and not os.path.lexists(self._staging)
        old = self._aside if arrived and os.path.lexists(self._place) else None
        for leftover in (self._staging, old):
            if leftover is None:
                continue
            try:
                remove(leftover)
            except OSError as trouble:
                problem = f"{str(leftover)!r} could not be removed: {trouble.strerror}"
                if arrived:
                    problem = f"{str(self.path)!r} is written, but the old bundle {problem}"
                if error is None:
                    raise StorageError(problem, remedy="remove it yourself") from trouble
                error.add_note(problem)
        self._staging = self._aside = None


def _copy(origin: Path, destination: Path) -> None:
    if not origin.is_dir():
        if not origin.is_file():
            raise BundleUnsafeError(f"{str(origin)!r} is not a plain file")
        shutil.copyfile(origin, destination)
        return
    found = take_inventory(origin)
    destination.mkdir()
    for folder in sorted(found.folders):
        (destination / folder).mkdir()
    for file in found.files:
        # Copy contents only: a converter's file modes could make the copy undeletable.
        shutil.copyfile(origin / file, destination / file)


def _replaceable(place: Path) -> bool:
    if place.is_symlink() or not place.is_dir():
        return False
    manifest = place / MANIFEST_NAME
    if not any(place.iterdir()):
        return True
    if manifest.is_symlink() or not manifest.is_file():
        return False
    if place.suffix == ".edge":
        return True
    # Other programs also write manifest.json, and their folders must not be deleted.
    with manifest.open("rb") as file:
        return is_manifest(file.read(MAX_MANIFEST_BYTES + 1))
