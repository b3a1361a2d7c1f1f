"""Number of partitions of a graph of which a delegate takes some operators."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

__all__ = ["count_partitions"]


def count_partitions(dependencies: Sequence[Collection[int]], taken: Collection[int]) -> int:
    """Count the partitions of the delegated operators, with as few switches as possible.

    Args:
        dependencies: For each operator, the indices of those whose results it needs.
        taken: Indices of the delegated operators.

    Returns:
        Number of partitions; operators on a cycle never run and are not counted.
    """
    wanted = frozenset(taken)
    needs = [set(before) - {place} for place, before in enumerate(dependencies)]
    missing = [len(before) for before in needs]
    after: list[list[int]] = [[] for _ in needs]
    for place, before in enumerate(needs):
        for producer in before:
            after[producer].append(place)
    # Ready operators: delegated (True) and not (False).
    ready: dict[bool, deque[int]] = {True: deque(), False: deque()}
    for place, count in enumerate(missing):
        if count == 0:
            ready[place in wanted].append(place)
    pieces = 0
    for_delegate = bool(ready[True])
    while ready[True] or ready[False]:
        pieces += for_delegate
        while ready[for_delegate]:
            for place in after[ready[for_delegate].popleft()]:
                missing[place] -= 1
                if missing[place] == 0:
                    ready[place in wanted].append(place)
        for_delegate = not for_delegate
    return pieces
