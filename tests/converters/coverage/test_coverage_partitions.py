from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.converters.coverage.partitions import count_partitions

_CHAIN = [set(), {0}, {1}, {2}, {3}]


@pytest.mark.parametrize(
    ("dependencies", "taken", "pieces"),
    [
        ([], (), 0),
        (_CHAIN, (), 0),
        (_CHAIN, (0, 1, 2, 3, 4), 1),
        (_CHAIN, (0, 1, 3, 4), 2),
        (_CHAIN, (0, 2, 4), 3),
        (_CHAIN, (2,), 1),
        # Two branches meet: what is ready waits for the same change of hands.
        ([set(), set(), {0}, {1}, {2, 3}], (0, 1, 4), 2),
        # A branch that is left does not split the one that is taken.
        ([set(), {0}, {0}, {2}], (0, 2, 3), 1),
        # A cycle never runs.
        ([{1}, {0}], (0, 1), 0),
    ],
)
def test_pieces_by_hand(dependencies: list[set[int]], taken: tuple[int, ...], pieces: int) -> None:
    assert count_partitions(dependencies, taken) == pieces


@st.composite
def _graphs(draw: st.DrawFn) -> tuple[list[set[int]], set[int]]:
    size = draw(st.integers(0, 12))
    edges = [
        draw(st.sets(st.integers(0, max(0, n - 1)), max_size=3)) if n else set()
        for n in range(size)
    ]
    return edges, draw(st.sets(st.integers(0, size - 1))) if size else set()


@settings(max_examples=60, deadline=None)
@given(_graphs())
def test_there_are_never_more_pieces_than_operators(graph: tuple[list[set[int]], set[int]]) -> None:
    dependencies, taken = graph
    pieces = count_partitions(dependencies, taken)
    assert (pieces > 0) == bool(taken)
    assert pieces <= len(taken)
    others = set(range(len(dependencies))) - taken
    assert abs(pieces - count_partitions(dependencies, others)) <= 1
