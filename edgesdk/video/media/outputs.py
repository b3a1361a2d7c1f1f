"""Check output paths: never replace the source, other files only on request."""

from __future__ import annotations

from pathlib import Path

from edgesdk.errors import OutputExistsError, UsageError
from edgesdk.host.atomic_write import storage_errors

__all__ = ["check_output"]


def check_output(path: Path, source: Path | None, *, overwrite: bool) -> None:
    """Check before the work begins that an output may be written.

    Args:
        path: File or folder to write.
        source: The source that is read meanwhile.
        overwrite: True allows an existing output to be replaced.

    Raises:
        UsageError: The output is or lies in the source, or is neither a file nor a folder.
        OutputExistsError: The output exists.
        StorageError: Its folder does not exist or cannot be read.
    """
    with storage_errors("cannot write", path):
        if source is not None and source.exists():
            if path.exists() and path.samefile(source):
                raise UsageError(
                    f"the output {str(path)!r} is the input itself",
                    remedy="give the output another name",
                )
            if source.is_dir() and path.parent.exists() and path.parent.samefile(source):
                raise UsageError(
                    f"the output {str(path)!r} lies in the folder that is read",
                    remedy="put it beside that folder",
                )
        if path.is_symlink() or path.exists():
            if path.exists() and not path.is_file() and not path.is_dir():
                raise UsageError(f"{str(path)!r} is neither a file nor a folder")
            if not overwrite:
                raise OutputExistsError(
                    f"{str(path)!r} exists already",
                    remedy="replace it with --overwrite, or choose another name",
                )
        path.absolute().parent.stat()
