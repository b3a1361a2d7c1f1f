"""The report as a file, inside its bundle or wherever it is wanted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.errors import OutputExistsError
from edgesdk.host.atomic_write import storage_errors, write_atomically
from edgesdk.host.untrusted_folder import file_descriptor
from edgesdk.report.links import linked_files
from edgesdk.report.page import render
from edgesdk.report.photographs import Photograph

if TYPE_CHECKING:
    from edgesdk.bundle.bundle import Bundle

__all__ = ["REPORT_NAME", "write_report"]

#: Name of the report within a bundle.
REPORT_NAME = "report.html"

#: Bytes that are read of a thumbnail; one that edgesdk wrote has a tenth.
_MOST_BYTES = 256 * 1024


def write_report(
    bundle: Bundle | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    photographs: Sequence[Photograph] = (),
    links: Sequence[str | os.PathLike[str]] = (),
    overwrite: bool = True,
) -> Path:
    """Write the HTML report of a bundle.

    Args:
        bundle: A bundle, or the path of one.
        output: The file, or a folder to put ``report.html`` into; None puts it into the bundle,
            which stays valid.
        photographs: See :func:`render`.
        links: Files that the page leads to, such as a video that the bundle painted; pictures among
            them are shown.
        overwrite: Whether an older report may be replaced.

    Returns:
        The file that was written.

    Raises:
        BundleError: There is no bundle, or it is damaged or unsafe.
        InputSpecError: A photograph that cannot be read.
        OutputExistsError: The file is there and ``overwrite`` is False.
        SourceNotFoundError: No file to lead to.
        StorageError: The disk is full, read-only or not ours.
    """
    if isinstance(bundle, str | os.PathLike):
        from edgesdk.bundle.bundle import Bundle

        bundle = Bundle.open(Path(bundle))
    path = Path(output) if output is not None else bundle.path
    if path.is_dir():
        path = path / REPORT_NAME
    if not overwrite and os.path.lexists(path):
        raise OutputExistsError(
            f"{os.fspath(path)!r} exists already",
            remedy="allow overwriting, or give another output",
        )
    beside = linked_files([Path(link) for link in links], path.parent)
    page = render(bundle.manifest, photographs, _thumbnails(bundle), beside)
    with storage_errors("cannot write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode())
    return path


def _thumbnails(bundle: Bundle) -> dict[str, bytes]:
    """Contents of the bundle's thumbnails by path, as far as their sizes are those of any."""
    found = {}
    for record in bundle.manifest.paintings.files if bundle.manifest.paintings else ():
        if record.size <= _MOST_BYTES:
            with (
                file_descriptor(bundle.path, record.path) as descriptor,
                os.fdopen(descriptor, "rb", closefd=False) as file,
            ):
                found[record.path] = file.read(record.size)
    return found
