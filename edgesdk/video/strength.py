"""Blend a painting with its original."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["StrengthBlend"]

_ROWS = 32


class StrengthBlend:
    """Blends pictures of one size by a fixed share.

    Args:
        strength: Share of the paint, 0..1; rounded to a 256th.
        width, height: Size of the pictures, pixels.
    """

    def __init__(self, strength: float, width: int, height: int) -> None:
        self._paint = round(256 * strength)
        shape = (min(_ROWS, height), width, 3)
        self._sum = np.empty(shape, np.uint16)
        self._term = np.empty(shape, np.uint16)

    @property
    def whole(self) -> bool:
        """True if the blend is the painting alone."""
        return self._paint == 256

    def blend(
        self, original: NDArray[np.uint8], painted: NDArray[np.uint8], out: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """Write the blend, rounded to the nearest, into ``out``, which may be ``painted``."""
        # A few rows at a time stay in the processor's cache for all five passes.
        for top in range(0, out.shape[0], _ROWS):
            rows = slice(top, min(top + _ROWS, out.shape[0]))
            total, term = self._sum[: rows.stop - top], self._term[: rows.stop - top]
            np.multiply(original[rows], np.uint16(256 - self._paint), out=total)
            np.multiply(painted[rows], np.uint16(self._paint), out=term)
            np.add(total, term, out=total)
            np.add(total, np.uint16(128), out=total)
            np.right_shift(total, 8, out=total)
            np.copyto(out[rows], total, casting="unsafe")
        return out
