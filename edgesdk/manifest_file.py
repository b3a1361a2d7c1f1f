"""The record of a file in a bundle."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FileRecord"]


class FileRecord(BaseModel):
    """One file of the bundle, or one folder that a target uses as a file (``.mlpackage``).

    Attributes:
        path: POSIX path relative to the bundle.
        sha256: Of the file; of a folder, of the sorted lines ``sha256  path`` of its files.
        size: Bytes, a folder's files together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(min_length=1, max_length=500)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
