"""Load an untrusted exported program (``.pt2``).

``torch.export.load`` unpickles tensor subclasses, constants and sample inputs without restriction,
loads compiled libraries in the archive, and evaluates strings of the program (see
:mod:`edgesdk.frontend.pt2.text_checks`). This module checks every part first, with the same reader
and on the same bytes that are loaded afterwards.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesdk.errors import (
    EdgeSdkError,
    InputNotFoundError,
    SourceDamagedError,
    SourceError,
    UnsafeFileError,
    UsageError,
)
from edgesdk.frontend.pt2.text_checks import check_program_text
from edgesdk.host.quiet import quiet
from edgesdk.style_names import check_style_names

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["STYLE_NAMES_FILE", "ProgramFile", "check_program_file", "load_program", "read_program"]

#: Extra file of a ``.pt2`` with style names: a JSON list of strings in the order of the shares.
STYLE_NAMES_FILE = "style_names.json"

_MAX_BYTES = 16 * 2**30
_MAX_RECORDS = 200_000
_MAX_TEXT_BYTES = 512 * 2**20
_MAX_NAMES_BYTES = 4 * 2**20
_MODEL = "model"
_PLAIN_RECORD = re.compile(
    r"archive_format|archive_version|byteorder|\.data/[a-z_]+|\.format_version|\.storage_alignment"
    r"|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(?:weight_\d+|model_weights_config\.json|model\.pt)"
    r"|data/constants/(?:tensor_\d+|model_constants_config\.json|model\.pt)"
    r"|extra/[\w.\- ]+"
)
_CODE_RECORDS = {
    "data/aotinductor/": "compiled libraries",
    "data/constants/custom_obj_": "objects of native classes",
    "data/constants/opaque_obj_": "pickled objects",
}


@dataclass(frozen=True)
class ProgramFile:
    """Content of a ``.pt2`` file.

    Attributes:
        program: The program.
        style_names: Style names from the extra file :data:`STYLE_NAMES_FILE`, if any; their number
            is not checked against the program.
    """

    program: ExportedProgram
    style_names: tuple[str, ...] = ()


def check_program_file(path: str | os.PathLike[str]) -> None:
    """Check that loading a ``.pt2`` file runs no code from it.

    Args:
        path: The file.

    Raises:
        InputNotFoundError: The file does not exist.
        SourceDamagedError: The file is damaged or not an exported program.
        UnsafeFileError: Loading it would run code, or its records have unsafe paths or sizes.
    """
    _checked(Path(path))


def load_program(path: str | os.PathLike[str]) -> ExportedProgram:
    """Load the program of a ``.pt2`` file.

    Args:
        path: See :func:`read_program`.

    Raises:
        EdgeSdkError: See :func:`read_program`.
    """
    return read_program(path).program


def read_program(path: str | os.PathLike[str]) -> ProgramFile:
    """Load a ``.pt2`` file after the checks of :func:`check_program_file`.

    Args:
        path: File with one program, written by ``torch.export.save``.

    Raises:
        InputNotFoundError: The file does not exist.
        SourceDamagedError: The file is damaged or of another version of torch.
        SourceError: Its style names are not valid.
        UnsafeFileError: Loading it would run code.
    """
    path = Path(path)
    data, names = _checked(path)
    from torch.export.pt2_archive._package import load_pt2

    # Call the reader of the checked format directly: torch.export.load falls back to the format of
    # torch 2.7, which is not checked.
    with quiet():
        try:
            contents = load_pt2(io.BytesIO(data))
            program = contents.exported_programs[_MODEL]
            _drop_ranges_of_products(program)
            return ProgramFile(program, names)
        except Exception as error:
            raise _damaged(path, _first_line(error)) from error


def _drop_ranges_of_products(program: ExportedProgram) -> None:
    """Drop the ranges of expressions and keep those of symbols.

    torch 2.13 reads the range of a product such as ``8*s0`` back as if it were a symbol's, and its
    decompositions then fail. The range of the symbol is equivalent.
    """
    for node in program.graph.nodes:
        fake_mode = getattr(node.meta.get("val"), "fake_mode", None)
        if fake_mode is not None and fake_mode.shape_env is not None:
            ranges = fake_mode.shape_env.var_to_range
            for odd in [key for key in ranges if not key.is_Symbol]:
                del ranges[odd]


def _damaged(path: Path, reason: str) -> SourceDamagedError:
    return SourceDamagedError(
        f"{path.name} is damaged or not an exported program (.pt2): {reason}",
        where=str(path),
        remedy="copy the file again, or export it again with torch.export.save and the torch "
        "version installed here",
    )


def _unsafe(path: Path, reason: str) -> UnsafeFileError:
    return UnsafeFileError(
        f"{path.name} {reason}",
        where=str(path),
        remedy="do not open this file; ask for the model's source, or for a program of plain "
        "tensors and operators",
    )


def _first_line(error: BaseException) -> str:
    # torch nests whole tracebacks in its messages; the last line is the cause.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _checked(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Check a file and return its content and style names."""
    data = _read(path)
    _check_archive(path, data)
    try:
        records = _Records(data)
        _check_names(path, records.names)
        _check_config(path, records, "weights")
        _check_config(path, records, "constants")
        for name in records.names:
            if name.endswith("/model.pt"):
                _check_pickle(path, name, records.read(name))
        _check_text(path, records)
        names = _style_names(path, records)
    except EdgeSdkError:
        raise
    except Exception as error:
        raise _damaged(path, _first_line(error)) from error
    return data, names


def _read(path: Path) -> bytes:
    if not path.exists():
        raise InputNotFoundError(path)
    if not path.is_file():
        raise _damaged(path, "it is not a file")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _unsafe(path, f"is larger than {_MAX_BYTES // 2**30} GiB")
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}", where=str(path)) from error


def _check_archive(path: Path, data: bytes) -> None:
    """Check sizes and names in the directory of the archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise _damaged(path, "it is not a complete zip archive") from error
    except UnicodeDecodeError as error:
        raise _damaged(path, "its directory is unreadable") from error
    if len(entries) > _MAX_RECORDS:
        raise _unsafe(path, f"holds {len(entries)} entries")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise _unsafe(path, "holds two entries of one name")
    for entry in entries:
        if entry.filename.startswith("/") or ".." in entry.filename.split("/"):
            raise _unsafe(path, f"holds the entry {entry.filename!r}, which leaves the archive")
        # torch does not compress records; a compressed one may be a decompression bomb.
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data):
            raise _unsafe(path, f"holds the entry {entry.filename!r}, which would expand")
    if "version" in names and any(name.startswith("serialized_") for name in names):
        raise _damaged(path, "it has the format of torch 2.7 and older")


class _Records:
    """Records of an archive, read with torch's own reader."""

    def __init__(self, data: bytes) -> None:
        import torch

        self._reader = torch._C.PyTorchFileReader(io.BytesIO(data))
        self.names: list[str] = list(self._reader.get_all_records())
        self._limit = len(data)

    def size(self, name: str) -> int:
        """Return the size of a record in bytes."""
        return int(self._reader.get_record_size(name))

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Read a record; refuse one that claims to be larger than the whole file."""
        if self.size(name) > min(self._limit, limit or self._limit):
            raise ValueError(f"the record {name} is larger than it can be")
        content: bytes = self._reader.get_record(name)
        return content

    def json(self, name: str, limit: int = _MAX_TEXT_BYTES) -> Any:
        """Read a JSON record."""
        return json.loads(self.read(name, limit))


def _check_names(path: Path, names: list[str]) -> None:
    for name in names:
        for prefix, what in _CODE_RECORDS.items():
            if name.startswith(prefix):
                raise _unsafe(path, f"holds {what} ({name}), which run when they are loaded")
        if not _PLAIN_RECORD.fullmatch(name):
            raise _unsafe(path, f"holds {name!r}, which is not a part of an exported program")
    for needed in ("archive_format", "models/model.json", "data/sample_inputs/model.pt"):
        if needed not in names:
            raise _damaged(path, f"its record {needed} is missing")


def _check_config(path: Path, records: _Records, kind: str) -> None:
    """Check that the records of all tensors exist and match their shapes."""
    name = f"data/{kind}/model_{kind}_config.json"
    if name not in records.names:
        # The older format keeps all tensors in one pickle, which is checked as a pickle.
        if f"data/{kind}/model.pt" in records.names:
            return
        raise _damaged(path, f"its record {name} is missing")
    config = records.json(name)["config"]
    for entry in config.values():
        file = f"data/{kind}/{entry['path_name']}"
        if file not in records.names or not _PLAIN_RECORD.fullmatch(file):
            raise _damaged(path, f"the record {file} is missing")
        if entry["use_pickle"]:
            _check_pickle(path, file, records.read(file))
            continue
        sizes = [size["as_int"] for size in entry["tensor_meta"]["sizes"]]
        if any(not isinstance(size, int) or size < 0 for size in sizes):
            raise _damaged(path, f"the tensor in {file} has an impossible shape")
        if records.size(file) == 0 and math.prod(sizes) > 0:
            raise _damaged(path, f"the tensor in {file} is empty")


def _check_pickle(path: Path, name: str, content: bytes) -> None:
    """Refuse a pickle that holds more than tensors and plain containers."""
    if not content:
        return
    import pickle

    import torch

    if content[:4] == b"PK\x03\x04":
        _check_archive(path, content)
    try:
        with quiet():
            torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise _unsafe(
            path, f"holds a pickle ({name}) with more than tensors, which runs when it is read"
        ) from error
    except Exception as error:
        # If anything else stops the restricted reader, torch would try the unrestricted one.
        raise _unsafe(path, f"holds a pickle ({name}) that cannot be read safely") from error


def _style_names(path: Path, records: _Records) -> tuple[str, ...]:
    name = f"extra/{STYLE_NAMES_FILE}"
    if name not in records.names:
        return ()
    try:
        return tuple(check_style_names(records.json(name, _MAX_NAMES_BYTES)))
    except UsageError as error:
        raise SourceError(
            f"the style names in {path.name} are not valid: {error.message}",
            where=str(path),
            remedy=f"save it again with a JSON list of strings as extra file {STYLE_NAMES_FILE}",
        ) from error


def _check_text(path: Path, records: _Records) -> None:
    from torch._export.serde import schema
    from torch._export.serde.serialize import _bytes_to_dataclass

    content = records.read("models/model.json", _MAX_TEXT_BYTES)
    program = _bytes_to_dataclass(schema.ExportedProgram, content)
    try:
        check_program_text(program)
    except UnsafeFileError as error:
        raise UnsafeFileError(
            f"{path.name}: {error.message}", where=str(path), remedy=error.remedy
        ) from error
