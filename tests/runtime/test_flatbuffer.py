from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.runtime.flatbuffer import FlatbufferError, root_table

# By hand: root offset 16, identifier, a vtable of two slots at byte 8, the table at 16. Its first
# slot is the number 7, its second the list [1, 2].
SMALL = (
    struct.pack("<I4s", 16, b"TEST")
    + struct.pack("<HHHH", 8, 12, 4, 8)
    + struct.pack("<iiI", 8, 7, 4)
    + struct.pack("<Iii", 2, 1, 2)
)


def test_a_table_by_hand() -> None:
    table = root_table(SMALL)
    assert table.number(0, "i") == 7
    assert table.numbers(1, "i") == [1, 2]
    assert table.length(1, 4) == 2
    # A slot that the writer did not know is its default.
    assert table.number(2, "i", default=5) == 5
    assert table.numbers(9, "i") == []
    assert table.table(2) is None
    assert table.text(2) == ""


def test_a_list_longer_than_the_file_is_refused() -> None:
    content = bytearray(SMALL)
    content[28:32] = struct.pack("<I", 1000)
    with pytest.raises(FlatbufferError, match="1000 items"):
        root_table(bytes(content)).numbers(1, "i")


def test_tables_that_refer_to_one_another_for_ever_are_refused() -> None:
    # A list of tables whose items all lead back to the table itself.
    count = 3000
    items = b"".join(struct.pack("<i", 16 - (32 + 4 * item)) for item in range(count))
    content = SMALL[:28] + struct.pack("<I", count) + items

    def walk(table: object, depth: int) -> None:
        for child in table.tables(1):  # type: ignore[attr-defined]
            if depth:
                walk(child, depth - 1)

    with pytest.raises(FlatbufferError):
        walk(root_table(content), 3)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 40))
def test_any_bytes_are_read_or_refused(content: bytes, cut: int) -> None:
    for data in (content, SMALL[:cut] + content):
        try:
            table = root_table(data)
            table.numbers(1, "i")
            table.text(0)
            list(table.tables(1))
        except FlatbufferError:
            continue
