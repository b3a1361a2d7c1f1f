"""A pool of arrays: memory is reused once nobody holds the array."""

from __future__ import annotations

import sys
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayPool"]

# References to an array that only the pool holds: its list and the call that counts.
_UNHELD = 2

Number = TypeVar("Number", bound=np.generic)


class ArrayPool(Generic[Number]):
    """Arrays of one shape and type, such as pictures and flows.

    Fresh memory for every frame costs as much as a tenth of painting it, because the system clears
    each page. An array that is held, by itself or through a view, is never given out again.

    Args:
        shape: Shape of every array.
        dtype: Type of every array.
        kept: Maximum number of arrays that the pool keeps.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type[Number], kept: int = 8) -> None:
        self._shape = shape
        self._dtype = dtype
        self._kept = kept
        self._arrays: list[NDArray[Number]] = []

    def take(self) -> NDArray[Number]:
        """Return an array, C-contiguous, of undefined content."""
        for place in range(len(self._arrays)):
            if sys.getrefcount(self._arrays[place]) == _UNHELD:
                return self._arrays[place]
        array = np.empty(self._shape, self._dtype)
        if len(self._arrays) < self._kept:
            self._arrays.append(array)
        return array
