"""Translate file damage and errors of vendors' runtimes into errors of the SDK."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesdk.errors import EdgeSdkError, SessionError

__all__ = ["artefact_bytes", "damaged_file", "first_line", "translated_errors"]

#: Limit of FlatBuffers; larger models do not run on phones anyway.
_MAX_BYTES = 2**31 - 1


def damaged_file(path: str | os.PathLike[str], kind: str, reason: str) -> SessionError:
    """Make the error for a damaged file.

    Args:
        path: The file.
        kind: Expected kind of file, such as ``ExecuTorch program (.pte)``.
        reason: Evidence of the damage.
    """
    return SessionError(
        f"{Path(path).name} is damaged or not a valid {kind}: {reason}",
        where=os.fspath(path),
        remedy="copy the file again or export the model again",
    )


def artefact_bytes(path: Path, kind: str) -> bytes:
    """Read the whole file once, so that the checked bytes are the loaded ones.

    Args:
        path: An existing file.
        kind: See :func:`damaged_file`.

    Raises:
        SessionError: The file cannot be read or is larger than 2 GiB.
    """
    try:
        if not path.is_file():
            raise damaged_file(path, kind, "it is not a file")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise damaged_file(path, kind, f"{size} bytes exceed the limit of the format")
        return path.read_bytes()
    except OSError as error:
        raise SessionError(f"cannot read {path}: {error.strerror}", where=str(path)) from error


def first_line(error: BaseException, limit: int = 400) -> str:
    """Return the first meaningful line of an exception, cut to ``limit`` characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:limit]


@contextmanager
def translated_errors(doing: str, *, remedy: str | None = None) -> Iterator[None]:
    """Translate any exception of a vendor's runtime in the block into a :class:`SessionError`.

    Args:
        doing: Failed action, such as ``onnxruntime cannot load model.onnx``.
        remedy: Suggested next step.
    """
    try:
        yield
    except EdgeSdkError:
        raise
    except Exception as error:
        raise SessionError(f"{doing}: {first_line(error)}", remedy=remedy) from error
