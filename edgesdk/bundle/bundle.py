"""The bundle on disk: a folder ``NAME.edge`` of artefacts with their ``manifest.json``.

An opened bundle is untrusted: nothing in it is run, followed or believed before its sizes and
hashes match its manifest. A written bundle appears complete or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    ArtefactRecord,
    FileRecord,
    Manifest,
    artefact_name,
    artefact_names,
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

__all__ = ["Bundle", "find_artefacts", "select_artefacts"]

_AGAIN = "copy the bundle again, or export it again"


@dataclass(frozen=True, repr=False)
class Bundle:
    """A bundle whose files match its manifest. Made by :meth:`open`.

    >>> bundle = Bundle.open("net.edge")  # doctest: +SKIP
    >>> bundle["onnx"].file.path  # doctest: +SKIP

    Attributes:
        path: The folder.
        manifest: Content of ``manifest.json``.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, check_hashes: bool = True) -> Bundle:
        """Open a bundle and check every file that its manifest names.

        The check holds for the moment it is made: anyone with write access can still change the
        folder afterwards.

        Args:
            path: The folder ``NAME.edge``.
            check_hashes: Read all files and compare their SHA-256. False checks names, kinds and
                sizes only.

        Raises:
            InputNotFoundError: The folder does not exist.
            BundleError: The folder has no manifest.
            BundleDamagedError: A file is missing, has another size or another content.
            BundleUnsafeError: Links, devices, unsafe or colliding paths, or limits exceeded.
            BundleSchemaError: The manifest is invalid or of a newer schema.
            StorageError: Permission is missing or the disk fails.
        """
        folder = Path(path)
        try:
            manifest = _checked(folder, check_hashes=check_hashes)
        except BundleError as error:
            error.where = str(folder / error.where) if error.where else str(folder)
            raise
        return cls(folder, manifest)

    def path_of(self, record: ArtefactRecord | FileRecord) -> Path:
        """Return the path of the file of a record.

        Raises:
            BundleUnsafeError: The record is not of this manifest and its path leaves the folder.
        """
        file = record.file if isinstance(record, ArtefactRecord) else record
        return self.path / check_name(file.path)

    def artefact(self, target: str) -> ArtefactRecord:
        """Find the artefact with a name.

        Args:
            target: One of the names that :func:`find_artefacts` takes, if it names one artefact.

        Raises:
            UnknownNameError: No artefact has that name, or several have.
        """
        matches = find_artefacts(self.manifest.artefacts, target)
        if len(matches) == 1:
            return matches[0]
        names = artefact_names(self.manifest.artefacts)
        shown = [
            name
            for name, record in zip(names, self.manifest.artefacts, strict=True)
            if record in matches
        ]
        error = UnknownNameError("artefact", target, shown)
        error.remedy = f"this bundle has several; choose one of {', '.join(shown)}"
        raise error

    def __getitem__(self, name: str) -> ArtefactRecord:
        """Find an artefact, see :meth:`artefact`."""
        return self.artefact(name)

    def __contains__(self, name: object) -> bool:
        """Return True if the bundle has one artefact of this name."""
        try:
            return isinstance(name, str) and self.artefact(name) is not None
        except UnknownNameError:
            return False

    def __iter__(self) -> Iterator[ArtefactRecord]:
        """Yield the artefacts in the order in which they were asked for."""
        return iter(self.manifest.artefacts)

    def __len__(self) -> int:
        """Return the number of artefacts."""
        return len(self.manifest.artefacts)

    def __bool__(self) -> bool:
        """Return True: a bundle without artefacts is a bundle too."""
        return True

    def __repr__(self) -> str:
        from edgesdk.bundle import overview_text

        return overview_text(self.path.name, self.manifest)

    def _repr_html_(self) -> str:
        from edgesdk.bundle import overview_html

        return overview_html(self.path.name, self.manifest)

    def samples(self) -> Samples:
        """Load the samples with the model's expected outputs.

        Raises:
            BundleDamagedError: The file is damaged or holds something else.
        """
        from edgesdk.bundle.samples import Samples

        return Samples.load(self.path_of(self.manifest.reference.samples))

    def program_path(self) -> Path | None:
        """Return the path of the captured program; None if the bundle was written without it."""
        program = self.manifest.reference.program
        return None if program is None else self.path_of(program)

    def update(self, manifest: Manifest) -> Bundle:
        """Replace ``manifest.json`` atomically, for instance to add parity or a profile.

        Readers see the old manifest or the new one. Of two concurrent writers the last one wins.

        Args:
            manifest: The new manifest; its files must be in the folder already.

        Returns:
            The bundle with the new manifest.

        Raises:
            BundleSchemaError: The manifest violates its schema.
            BundleDamagedError: It names a file that is missing or has another size.
            BundleUnsafeError: It names a file that bundles may not hold.
            StorageError: The disk is full, read-only or without permission; the old manifest stays.
        """
        content = manifest_bytes(manifest)
        _check_files(take_inventory(self.path), manifest)
        write_atomically(self.path / MANIFEST_NAME, content)
        return Bundle(self.path, manifest)


def find_artefacts(artefacts: Sequence[ArtefactRecord], text: str) -> list[ArtefactRecord]:
    """Find the artefacts that a name means.

    Args:
        artefacts: The artefacts of a manifest.
        text: A printed name (``onnx w8a8_static``), with or without the variant; a file of the
            bundle; a target with variant (``executorch:xnnpack``); or a target without (``onnx``).
            A target means its float artefact if it is named with the variant, else all of it.

    Returns:
        At least one artefact, in the manifest's order.

    Raises:
        UnknownNameError: No artefact has that name.
    """
    names = artefact_names(artefacts)
    target, _, recipe = " ".join(text.split()).partition(" ")
    wanted = artefact_name(target, recipe)
    named = list(zip(names, artefacts, strict=True))
    for matches in (
        [record for name, record in named if name in (text, wanted)],
        [record for _, record in named if record.file.path == text],
        [record for _, record in named if record.target == text],
        [record for _, record in named if record.target.partition(":")[0] == text],
    ):
        if matches:
            return matches
    error = UnknownNameError("artefact", text, names)
    if not artefacts:
        error.remedy = "this bundle has no artefact; see failures in its manifest"
    raise error


def select_artefacts(manifest: Manifest, names: Sequence[str] | None) -> list[ArtefactRecord]:
    """Select the artefacts that names of :func:`find_artefacts` mean, each once, in order.

    Args:
        manifest: Manifest with the artefacts.
        names: The names; None for every artefact.

    Raises:
        UnknownNameError: A name matches no artefact.
    """
    if names is None:
        return list(manifest.artefacts)
    files = {
        found.file.path for name in names for found in find_artefacts(manifest.artefacts, name)
    }
    return [one for one in manifest.artefacts if one.file.path in files]


def _checked(folder: Path, *, check_hashes: bool) -> Manifest:
    found = take_inventory(folder)
    if MANIFEST_NAME not in found.files:
        raise BundleError(
            f"{str(folder)!r} is not a bundle: it has no {MANIFEST_NAME}",
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
            # Read one byte more than allowed, so that the parser refuses a growing file.
            return file.read(MAX_MANIFEST_BYTES + 1)


def _check_files(found: Inventory, manifest: Manifest) -> None:
    """Compare the manifest with the files found: first every name, then every size."""
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
