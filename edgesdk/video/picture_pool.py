"""Memory for the pictures that are handed out, used again once nobody holds them."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

__all__ = ["PicturePool"]

# A picture that only the pool holds is referred to by its list and by the call that counts.
_UNHELD = 2


class PicturePool:
    """Pictures of one size.

    Fresh memory for every frame costs as much as a tenth of painting it, because the system clears
    each page. A picture that is held, by itself or through a view, is never given out again.

    Args:
        width: Pixels.
        height: Likewise.
        kept: How many pictures the pool keeps at most; those beyond are left to their holders.
    """

    def __init__(self, width: int, height: int, kept: int = 8) -> None:
        self._shape = (height, width, 3)
        self._kept = kept
        self._pictures: list[NDArray[np.uint8]] = []

    def take(self) -> NDArray[np.uint8]:
        """A picture, uint8, H x W x 3, C-contiguous, of undefined content."""
        for place in range(len(self._pictures)):
            if sys.getrefcount(self._pictures[place]) == _UNHELD:
                return self._pictures[place]
        picture = np.empty(self._shape, np.uint8)
        if len(self._pictures) < self._kept:
            self._pictures.append(picture)
        return picture
