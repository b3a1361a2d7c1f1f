"""Turning what a file or a vendor's runtime does wrong into the errors of this SDK."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesdk.errors import EdgeSdkError, SessionError

__all__ = ["artefact_bytes", "damaged_file", "first_line", "translated_errors"]

#: FlatBuffers cannot be larger, and nothing larger runs on a phone.
_MAX_BYTES = 2**31 - 1


def damaged_file(path: str | os.PathLike[str], kind: str, reason: str) -> SessionError:
    """The error for a file that is not what its name says.

    Args:
        path: The file.
        kind: What it should have been, such as ``ExecuTorch program (.pte)``.
        reason: What gives it away.
    """
    return SessionError(
        f"{Path(path).name} is damaged or not a valid {kind}: {reason}",
        where=os.fspath(path),
        remedy="copy the file again or export the model again",
    )


def artefact_bytes(path: Path, kind: str) -> bytes:
    """The whole file, read once: what was checked is what will be loaded.

    Args:
        path: An existing file.
        kind: As for :func:`damaged_file`.

    Raises:
        SessionError: The file cannot be read or is larger than 2 GiB.
    """
    try:
        if not path.is_file():
            raise damaged_file(path, kind, "it is not a file")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise damaged_file(path, kind, f"{size} bytes are more than the format can hold")
        return path.read_bytes()
    except OSError as error:
        raise SessionError(f"cannot read {path}: {error.strerror}", where=str(path)) from error


def first_line(error: BaseException, limit: int = 400) -> str:
    """The first line that says something of a vendor's exception, cut to ``limit`` characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:limit]


@contextmanager
def translated_errors(doing: str, *, remedy: str | None = None) -> Iterator[None]:
    """Turn whatever a vendor's runtime raises inside the block into a :class:`SessionError`.

    Args:
        doing: What the runtime was doing, such as ``onnxruntime cannot load model.onnx``.
        remedy: What to do next.
    """
    try:
        yield
    except EdgeSdkError:
        raise
    except Exception as error:
        raise SessionError(f"{doing}: {first_line(error)}", remedy=remedy) from error
