"""Interleave measurements so that drift and background load affect every artefact equally."""

from __future__ import annotations

__all__ = ["rounds"]


def rounds(count: int, number: int) -> list[list[int]]:
    """Order ``count`` artefacts for ``number`` rounds, one turn each per round.

    A processor that warms up slows later turns, and each turn finds the caches of the turn before.
    The rows form a Latin square balanced for neighbours (Williams, 1949): over ``count`` rounds
    (twice as many for an odd count) each artefact has each position equally often, and follows each
    other artefact within a round equally often.

    Args:
        count: Number of artefacts.
        number: Number of rounds.

    Returns:
        One list of indices ``0..count-1`` per round.
    """
    if count == 0:
        return [[] for _ in range(number)]
    # 0, 1, n-1, 2, n-2, ...: neighbours differ by every residue once.
    zigzag = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(count)]
    orders = []
    for turn in range(number):
        order = [(place + turn) % count for place in zigzag]
        if count % 2 and (turn // count) % 2:
            order.reverse()
        orders.append(order)
    return orders
