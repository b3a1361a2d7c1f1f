"""The bundle on disk: a folder ``NAME.edge`` of artefacts with the ``manifest.json`` on them.

A bundle that is opened is somebody else's: nothing in it is run, followed or believed before its
sizes and hashes are those of its manifest. A bundle that is written appears whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    ArtefactRecord,
    FileRecord,
    Manifest,
    manifest_bytes,
    parse_manifest,
)
from edgesdk.errors import BundleDamagedError, BundleError, BundleUnsafeError, UnknownNameError
from edgesdk.host.atomic_write import write_atomically
from edgesdk.host.digest import folder_digest, stream_digest
from edgesdk.host.untrusted_folder import (
    Inventory,
    check_name,
    check_names,
    file_descriptor,
    reading,
    take_inventory,
)

if TYPE_CHECKING:
    from edgesdk.bundle.samples import Samples

__all__ = ["Bundle"]

_AGAIN = "copy the bundle again, or export it anew"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are those its manifest names. Made by :meth:`open`.

    Attributes:
        path: The folder.
        manifest: What ``manifest.json`` says.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, check_hashes: bool = True) -> Bundle:
        """Open a bundle and check every file that its manifest names.

        The check holds for the moment it is made: whoever may write to the folder afterwards can
        still change it under the runtime that reads it next.

        Args:
            path: The folder ``NAME.edge``.
            check_hashes: Read all files and compare their SHA-256. Without it, names, kinds and
                sizes are checked alone.

        Raises:
            BundleError: No folder, or no manifest in it.
            BundleDamagedError: A file is missing, has another size or another content.
            BundleUnsafeError: Links, devices, unsafe or colliding paths, too much of anything.
            BundleSchemaError: The manifest is none, or one of a newer schema.
            StorageError: No permission to read, or a disk that fails.
        """
        folder = Path(path)
        try:
            manifest = _checked(folder, check_hashes=check_hashes)
        except BundleError as error:
            error.where = str(folder / error.where) if error.where else str(folder)
            raise
        return cls(folder, manifest)

    def path_of(self, record: ArtefactRecord | FileRecord) -> Path:
        """Where the file of a record lies.

        Raises:
            BundleUnsafeError: The record is not of this manifest, and its path leaves the folder.
        """
        file = record.file if isinstance(record, ArtefactRecord) else record
        return self.path / check_name(file.path)

    def artefact(self, target: str) -> ArtefactRecord:
        """The artefact of a target.

        Args:
            target: Target with variant (``executorch:xnnpack``); without one (``executorch``)
                where the bundle has one variant of it alone; or the artefact's file name, which
                tells two artefacts of the same target apart.

        Raises:
            UnknownNameError: No artefact of that name, or more than one.
        """
        records = self.manifest.artefacts
        for matches in (
            [record for record in records if record.target == target],
            [record for record in records if record.file.path == target],
            [record for record in records if record.target.partition(":")[0] == target],
        ):
            if len(matches) == 1:
                return matches[0]
            if matches:
                same = len({record.target for record in matches}) == 1
                names = [record.file.path if same else record.target for record in matches]
                error = UnknownNameError("artefact", target, names)
                error.remedy = f"this bundle has several; say which: {', '.join(names)}"
                raise error
        error = UnknownNameError("artefact", target, {record.target for record in records})
        if not records:
            error.remedy = "this bundle has no artefact; its manifest tells why under failures"
        raise error

    def samples(self) -> Samples:
        """The samples with the outputs the model gave for them.

        Raises:
            BundleDamagedError: The file holds something else.
        """
        from edgesdk.bundle.samples import Samples

        return Samples.load(self.path_of(self.manifest.reference.samples))

    def program_path(self) -> Path | None:
        """Where the captured program lies; None where the bundle was written without it."""
        program = self.manifest.reference.program
        return None if program is None else self.path_of(program)

    def update(self, manifest: Manifest) -> Bundle:
        """Replace ``manifest.json`` in one step, for instance to add parity or a profile.

        Readers meet the old manifest or the new one. Two writers at once do not add up: the later
        one's manifest stays.

        Args:
            manifest: The new manifest; its files must be in the folder already.

        Returns:
            The bundle with the new manifest.

        Raises:
            BundleSchemaError: The manifest holds what its schema does not allow.
            BundleDamagedError: It names a file that is missing or has another size.
            BundleUnsafeError: It names a file that no bundle may hold.
            StorageError: The disk is full, read-only or not ours; the old manifest stays.
        """
        content = manifest_bytes(manifest)
        _check_files(take_inventory(self.path), manifest)
        write_atomically(self.path / MANIFEST_NAME, content)
        return Bundle(self.path, manifest)


def _checked(folder: Path, *, check_hashes: bool) -> Manifest:
    found = take_inventory(folder)
    if MANIFEST_NAME not in found.files:
        raise BundleError(
            f"{str(folder)!r} is no bundle: it has no {MANIFEST_NAME}",
            remedy="give the folder NAME.edge itself, or make one with `edgesdk export`",
        )
    manifest = parse_manifest(_read_manifest(folder))
    _check_files(found, manifest)
    if check_hashes:
        for record in _records(manifest):
            _check_hash(folder, found, record)
    return manifest


def _records(manifest: Manifest) -> Iterator[FileRecord]:
    if manifest.reference.program is not None:
        yield manifest.reference.program
    yield manifest.reference.samples
    for artefact in manifest.artefacts:
        yield artefact.file
        if artefact.simulated is not None:
            yield artefact.simulated
    if manifest.paintings is not None:
        yield from manifest.paintings.files


def _read_manifest(folder: Path) -> bytes:
    with file_descriptor(folder, MANIFEST_NAME) as descriptor, reading(MANIFEST_NAME):
        if os.fstat(descriptor).st_size > MAX_MANIFEST_BYTES:
            raise BundleUnsafeError(
                f"{MANIFEST_NAME} is larger than {MAX_MANIFEST_BYTES >> 20} MiB"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            # One byte more than allowed, in case it grows: the parser refuses that.
            return file.read(MAX_MANIFEST_BYTES + 1)


def _check_files(found: Inventory, manifest: Manifest) -> None:
    """Hold what the manifest names against what is there: first every name, then every size."""
    check_names([MANIFEST_NAME, *(record.path for record in _records(manifest))])
    for record in _records(manifest):
        size = found.size(record.path)
        if size is None:
            raise BundleDamagedError(f"{record.path!r} is missing", remedy=_AGAIN)
        if size != record.size:
            raise BundleDamagedError(
                f"{record.path!r} has {size} bytes, and the manifest says {record.size}",
                remedy=_AGAIN,
            )


def _check_hash(folder: Path, found: Inventory, record: FileRecord) -> None:
    if record.path in found.folders:
        actual = folder_digest(folder, found.under(record.path), record.path)
    else:
        with file_descriptor(folder, record.path) as descriptor:
            actual = stream_digest(descriptor, record.size, record.path)
    if actual != record.sha256:
        raise BundleDamagedError(
            f"{record.path!r} was altered: its sha256 is {actual}, "
            f"and the manifest says {record.sha256}",
            remedy=_AGAIN,
        )
