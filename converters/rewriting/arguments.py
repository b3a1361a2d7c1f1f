"""Arguments of operators that may be one number for all axes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["per_axis"]


def per_axis(
    value: int | Sequence[int] | None, axes: int, default: int | Sequence[int]
) -> list[int]:
    """Return one number for each axis, as aten reads an ``int[]`` argument.

    Args:
        value: One number for all axes, one for each, or none at all.
        axes: Number of axes.
        default: Likewise, in place of none.
    """
    given = default if value is None or value == [] or value == () else value
    listed = [given] if isinstance(given, int) else list(given)
    return listed * axes if len(listed) == 1 else listed
