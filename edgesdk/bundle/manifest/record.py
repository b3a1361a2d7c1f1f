"""The base of every record of the manifest, its field types, and the record of a file."""

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
# The first wrong item of a list ends its reading: a million wrong ones cost no million errors.
Items = Annotated[list[_Item], FailFast()]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
StyleName = Annotated[str, Field(min_length=1, max_length=MAX_STYLE_NAME)]
Text = Annotated[str, Field(max_length=20_000)]


class Record(BaseModel):
    """An immutable object of the manifest: no field but its own, no number that is not finite."""

    # NaN and infinity are no JSON: a figure that does not exist is null.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileRecord(Record):
    """One file of the bundle, or one folder that a target uses as a file (``.mlpackage``).

    Attributes:
        path: POSIX path relative to the bundle.
        sha256: Of the file; of a folder, of the sorted lines ``sha256  path`` of its files.
        size: Bytes, a folder's files together.
    """

    path: Annotated[str, Field(min_length=1, max_length=500)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


def file_record(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> FileRecord:
    """Describe a file or folder as the manifest does.

    Args:
        root: The bundle's folder, or the staging folder of one that is being written.
        path: The file or folder in it: absolute, or relative to ``root``.

    Raises:
        BundleDamagedError: Nothing is there.
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
