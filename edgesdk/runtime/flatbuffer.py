"""Read untrusted FlatBuffers with bounds checks.

The native loaders of ``.pte`` and ``.tflite`` follow offsets unchecked. This reader follows the
same offsets first, in Python, where a wrong one is an exception instead of a crash.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

__all__ = ["FlatTable", "FlatbufferError", "check_indices", "root_table"]

#: More tables than any valid artefact has; a file that shares subtrees could demand far more.
_MAX_VISITS = 2_000_000


class FlatbufferError(ValueError):
    """An offset, a length or a count is invalid."""


class _Buffer:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.visits_left = min(_MAX_VISITS, len(data) + 1000)

    def read(self, layout: str, position: int) -> int | float:
        if position < 0 or position + struct.calcsize(layout) > len(self.data):
            raise FlatbufferError(f"an offset leads to byte {position} of {len(self.data)}")
        value: int | float = struct.unpack_from(layout, self.data, position)[0]
        return value

    def offset(self, position: int) -> int:
        """Return the target of the forward offset stored at ``position``."""
        return position + int(self.read("<I", position))

    def visit(self) -> None:
        self.visits_left -= 1
        if self.visits_left < 0:
            raise FlatbufferError("it refers to the same parts repeatedly")


class FlatTable:
    """One table of a FlatBuffer; fields are addressed by their slot in the schema.

    Args:
        buffer: The whole file.
        position: Start of the table.
    """

    def __init__(self, buffer: _Buffer, position: int) -> None:
        buffer.visit()
        self._buffer = buffer
        self._position = position
        self._vtable = position - int(buffer.read("<i", position))
        self._vtable_size = int(buffer.read("<H", self._vtable))
        table_size = int(buffer.read("<H", self._vtable + 2))
        if self._vtable_size < 4 or table_size < 4 or position + table_size > len(buffer.data):
            raise FlatbufferError(f"the table at byte {position} has an impossible size")
        self._table_size = table_size

    def _field(self, slot: int) -> int | None:
        entry = 4 + 2 * slot
        if entry + 2 > self._vtable_size:
            return None
        offset = int(self._buffer.read("<H", self._vtable + entry))
        if offset >= self._table_size:
            raise FlatbufferError(f"a field lies outside the table at byte {self._position}")
        return self._position + offset if offset else None

    def number(self, slot: int, layout: str, default: int = 0) -> int:
        """Read the integer in ``slot`` with the :mod:`struct` letter ``layout``."""
        field = self._field(slot)
        return default if field is None else int(self._buffer.read("<" + layout, field))

    def table(self, slot: int) -> FlatTable | None:
        """Return the table in ``slot``, or None if the field is absent."""
        field = self._field(slot)
        return None if field is None else FlatTable(self._buffer, self._buffer.offset(field))

    def _vector(self, slot: int, item_size: int) -> tuple[int, int]:
        field = self._field(slot)
        if field is None:
            return 0, 0
        start = self._buffer.offset(field)
        count = int(self._buffer.read("<I", start))
        if start + 4 + count * item_size > len(self._buffer.data):
            raise FlatbufferError(f"a list of {count} items extends beyond the end of the file")
        return start + 4, count

    def numbers(self, slot: int, layout: str) -> list[int]:
        """Read the list of integers in ``slot``; empty if the field is absent."""
        start, count = self._vector(slot, struct.calcsize(layout))
        return list(struct.unpack_from(f"<{count}{layout}", self._buffer.data, start))

    def length(self, slot: int, item_size: int) -> int:
        """Return the length of the list in ``slot`` without reading the items."""
        return self._vector(slot, item_size)[1]

    def text(self, slot: int) -> str:
        """Read the string in ``slot``; empty if the field is absent."""
        start, count = self._vector(slot, 1)
        try:
            return self._buffer.data[start : start + count].decode()
        except UnicodeDecodeError as error:
            raise FlatbufferError("a name is not UTF-8") from error

    def tables(self, slot: int) -> Iterator[FlatTable]:
        """Iterate over the tables of the list in ``slot``."""
        start, count = self._vector(slot, 4)
        for item in range(count):
            position = start + 4 * item
            yield FlatTable(self._buffer, self._buffer.offset(position))


def check_indices(kind: str, indices: Iterable[int], count: int) -> None:
    """Refuse an index outside a list of ``count`` items of this kind."""
    for index in indices:
        if not 0 <= index < count:
            raise FlatbufferError(f"it refers to {kind} {index} of {count}")


def root_table(data: bytes, start: int = 0) -> FlatTable:
    """Return the root table of a FlatBuffer.

    Args:
        data: The file.
        start: Byte at which the FlatBuffer begins.

    Raises:
        FlatbufferError: The root lies outside the file.
    """
    buffer = _Buffer(data)
    return FlatTable(buffer, buffer.offset(start))
