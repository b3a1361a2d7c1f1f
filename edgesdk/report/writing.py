"""Write the report as a file, into its bundle or elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.errors import OutputExistsError
from edgesdk.host.atomic_write import storage_errors, write_atomically
from edgesdk.host.image_files import sample_paths
from edgesdk.host.untrusted_folder import file_descriptor
from edgesdk.report.links import linked_files
from edgesdk.report.page import render
from edgesdk.report.photographs import Photograph

if TYPE_CHECKING:
    from edgesdk.bundle.bundle import Bundle

__all__ = ["REPORT_NAME", "report", "write_report"]

#: Name of the report within a bundle.
REPORT_NAME = "report.html"

#: Largest thumbnail that is read, in bytes; edgesdk writes about a tenth.
_MAX_BYTES = 256 * 1024


def write_report(
    bundle: Bundle | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    photographs: Sequence[Photograph] = (),
    links: Sequence[str | os.PathLike[str]] = (),
    overwrite: bool = True,
) -> Path:
    """Write the HTML report of a bundle, and return its path.

    Example:
        >>> edgesdk.write_report("net.edge", links=["painted.mp4"])
        PosixPath('net.edge/report.html')

    Args:
        bundle: Bundle, or its path.
        output: File to write, or a folder for ``report.html``; None writes into the bundle.
        photographs: See :func:`render`.
        links: Files that the page links to, such as a stylized video; pictures are shown.
        overwrite: True to replace an older report.

    Raises:
        BundleError: The bundle is missing, damaged or unsafe.
        InputSpecError: A photograph cannot be read.
        OutputExistsError: The file exists and ``overwrite`` is False.
        InputNotFoundError: A linked file does not exist.
        StorageError: The disk is full, read-only, or writing is not permitted.
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


def report(
    bundle: Bundle | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    samples: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    link: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    overwrite: bool = True,
) -> Path:
    """Write an HTML page that shows which artefact to ship, and return its path.

    Arguments have the names of the options of ``edgesdk report``.

        edgesdk.report("net.edge", samples="photos/")

    Args:
        bundle: Bundle, or its path.
        output: File to write, or a folder for ``report.html``; None writes into the bundle.
        samples: Photographs to show, files or folders; by default those of the package.
        link: Files that the page links to, such as a stylized video.
        overwrite: True (default) to replace an older report.

    Raises:
        EdgeSdkError: See :func:`write_report`.
    """
    from edgesdk.models.photos import paths

    files = sample_paths(_several(samples)) or paths()
    photographs = [Photograph(file.name, file) for file in files]
    return write_report(
        bundle, output, photographs=photographs, links=_several(link), overwrite=overwrite
    )


def _several(
    given: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
) -> Sequence[str | os.PathLike[str]]:
    return (given,) if isinstance(given, str | os.PathLike) else given


def _thumbnails(bundle: Bundle) -> dict[str, bytes]:
    """Read the bundle's thumbnails by path, except files too large to be one."""
    found = {}
    for record in bundle.manifest.paintings.files if bundle.manifest.paintings else ():
        if record.size <= _MAX_BYTES:
            with (
                file_descriptor(bundle.path, record.path) as descriptor,
                os.fdopen(descriptor, "rb", closefd=False) as file,
            ):
                found[record.path] = file.read(record.size)
    return found
