"""Base class of the manifest's records, their field types, and the record of a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field

from edgesdk.errors import BundleUnsafeError
from edgesdk.host.digest import folder_digest, stream_digest
from edgesdk.host.untrusted_folder import check_name, file_descriptor, take_inventory
from edgesdk.style_names import MAX_STYLE_NAME

__all__ = ["Count", "FileRecord", "Items", "Record", "Share", "StyleName", "Text", "file_record"]

_Item = TypeVar("_Item")
# Stop at the first wrong item of a list: a million wrong items must not make a million errors.
Items = Annotated[list[_Item], FailFast()]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
StyleName = Annotated[str, Field(min_length=1, max_length=MAX_STYLE_NAME)]
Text = Annotated[str, Field(max_length=20_000)]


class Record(BaseModel):
    """An immutable object of the manifest: unknown fields and non-finite numbers are refused."""

    # NaN and infinity are not JSON: a missing figure is null.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileRecord(Record):
    """One file of the bundle, or one folder that a target uses as a file (``.mlpackage``).

    Attributes:
        path: POSIX path relative to the bundle.
        sha256: Digest of the file; for a folder, of the sorted lines ``sha256  path`` of its files.
        size: Size in bytes; for a folder, the sum over its files.
    """

    path: Annotated[str, Field(min_length=1, max_length=500)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


def file_record(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> FileRecord:
    """Make the manifest's record of a file or folder.

    Args:
        root: Folder of the bundle, or the staging folder of one being written.
        path: The file or folder in it: absolute, or relative to ``root``.

    Raises:
        BundleDamagedError: It does not exist.
        BundleUnsafeError: It lies outside ``root``, or holds a link, a pipe or a device.
        StorageError: It cannot be read.
    """
    base = Path(root).absolute()
    location = base / path
    if ".." in location.parts or not location.is_relative_to(base) or location == base:
        raise BundleUnsafeError(f"{str(path)!r} does not lie inside {str(root)!r}")
    name = check_name(location.relative_to(base).as_posix())
    if location.is_dir() and not location.is_symlink():
        files = {f"{name}/{inner}": size for inner, size in take_inventory(location).files.items()}
        sha256 = folder_digest(base, files, name)
        return FileRecord(path=name, sha256=sha256, size=sum(files.values()))
    with file_descriptor(base, name) as descriptor:
        size = os.fstat(descriptor).st_size
        return FileRecord(path=name, sha256=stream_digest(descriptor, size, name), size=size)
