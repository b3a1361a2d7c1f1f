"""Reading of ``.tflite`` flatbuffers with the schema of ``ai_edge_litert``."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgesdk.errors import EdgeSdkError, MissingBackendError

__all__ = ["listed", "names_of", "open_flatbuffer", "operator_name", "text_of"]


@contextmanager
def open_flatbuffer(
    path: Path, error_type: Callable[..., EdgeSdkError]
) -> Iterator[tuple[bytes, Any, Any]]:
    """Open a model; errors of reading it inside the block become ``error_type``.

    Args:
        path: A ``.tflite`` file.
        error_type: Error for unreadable or damaged files.

    Yields:
        Bytes of the file, its root table, and the schema module.

    Raises:
        MissingBackendError: ``ai_edge_litert`` is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingBackendError("ai_edge_litert", "litert") from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise error_type(f"cannot read {path}: {error.strerror}") from error
    try:
        if content[4:8] != b"TFL3":
            raise ValueError("its file identifier is not TFL3")
        yield content, schema.ModelT.InitFromPackedBuf(content, 0), schema
    except (
        *(AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error),
        NotImplementedError,
    ) as error:
        raise error_type(
            f"{path.name} is not a LiteRT model: {error}",
            remedy="give a complete .tflite file",
        ) from error


def names_of(enumeration: type) -> dict[int, str]:
    """Return the names of an enumeration of the schema, by number."""
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


def operator_name(code: Any, names: dict[int, str]) -> str:
    """Return the name of an operator code; custom ones with the name they have."""
    # Files of an older schema hold the code in a field of one byte.
    name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return f"CUSTOM {text_of(code.customCode)}" if name == "CUSTOM" else name


def listed(values: Any) -> list[Any]:
    """Return a vector of the schema as a list; empty if it is absent."""
    return [] if values is None else list(values)


def text_of(value: Any) -> str:
    """Return a string of the schema; empty if it is absent."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
