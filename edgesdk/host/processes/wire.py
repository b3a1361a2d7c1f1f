"""Messages between a parent and its child: a JSON header, then the bytes of the arrays.

::

    magic "EDG1" | uint32 length of the header | header (UTF-8 JSON) | array bytes, in header order

No pickle: a child that runs an untrusted model must not run code in its parent. Headers are checked
before anything is allocated.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Message", "ProtocolError", "encode", "reading"]

_PREFIX = struct.Struct("<4sI")
_MAGIC = b"EDG1"
_MAX_HEADER = 64 * 2**20
_MAX_ARRAY_BYTES = 16 * 2**30
_MAX_RANK = 32


class ProtocolError(ValueError):
    """The bytes are not a message of this protocol."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        kind: Kind of the message, such as ``run`` or ``result``.
        payload: Plain JSON.
        arrays: Numeric arrays by name.
    """

    kind: str
    payload: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def encode(
    kind: str, payload: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> list[memoryview]:
    """Encode a message as pieces to send in order; contiguous arrays are not copied.

    Raises:
        TypeError: The payload is not plain JSON, or an array is not numeric.
        ValueError: The message is larger than a reader accepts.
    """
    described, pieces = [], []
    for name, given in arrays.items():
        array = np.asarray(given, order="C")
        if array.dtype.kind not in "biufc":
            raise TypeError(f"array {name!r} of dtype {array.dtype} is not numeric")
        described.append([name, array.dtype.str, list(array.shape)])
        if array.nbytes:
            pieces.append(_bytes_of(array))
    header = json.dumps({"kind": kind, "payload": dict(payload), "arrays": described}).encode()
    if len(header) > _MAX_HEADER or sum(piece.nbytes for piece in pieces) > _MAX_ARRAY_BYTES:
        raise ValueError(f"the message {kind!r} is too large to send")
    return [memoryview(_PREFIX.pack(_MAGIC, len(header)) + header), *pieces]


def _described_arrays(described: object) -> dict[str, np.ndarray]:
    if not isinstance(described, list):
        raise ProtocolError("the list of arrays is not a list")
    total = 0
    layouts: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = []
    for entry in described:
        if not (isinstance(entry, list) and len(entry) == 3):
            raise ProtocolError("an array is not described by name, dtype and shape")
        name, kind, shape = entry
        if not (isinstance(name, str) and isinstance(kind, str) and isinstance(shape, list)):
            raise ProtocolError("an array's name, dtype or shape has a wrong type")
        if len(shape) > _MAX_RANK or not all(type(size) is int and size >= 0 for size in shape):
            raise ProtocolError(f"the array {name!r} has an impossible shape")
        try:
            dtype = np.dtype(kind)
        except (TypeError, ValueError) as error:
            raise ProtocolError(f"the array {name!r} has an unknown dtype") from error
        if dtype.kind not in "biufc":
            raise ProtocolError(f"the array {name!r} is not numeric")
        total += math.prod(shape) * dtype.itemsize
        if total > _MAX_ARRAY_BYTES:
            raise ProtocolError("the arrays exceed the size limit of a message")
        layouts.append((name, dtype, tuple(shape)))
    return {name: np.empty(shape, dtype) for name, dtype, shape in layouts}


def reading() -> Generator[memoryview, None, Message]:
    """Read one message: fill each yielded buffer with the next bytes, then ask for the next one.

    The reader does no input or output itself, so that the child can block while the parent must
    watch a time limit.

    Returns:
        The message, as the generator's value.

    Raises:
        ProtocolError: The bytes are not a message.
    """
    prefix = bytearray(_PREFIX.size)
    yield memoryview(prefix)
    magic, length = _PREFIX.unpack(prefix)
    if magic != _MAGIC or length > _MAX_HEADER:
        raise ProtocolError("the bytes do not start with the magic of a message")
    raw = bytearray(length)
    if length:
        yield memoryview(raw)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("the header is not JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("the header is not an object")
    kind, payload = header.get("kind"), header.get("payload")
    if not (isinstance(kind, str) and isinstance(payload, dict)):
        raise ProtocolError("the header names no kind or no payload")
    arrays = _described_arrays(header.get("arrays"))
    for array in arrays.values():
        if array.nbytes:
            yield _bytes_of(array)
    return Message(kind, payload, arrays)
