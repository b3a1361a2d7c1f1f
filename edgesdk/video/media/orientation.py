"""The display matrix: turn pictures upright."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["UPRIGHT", "Orientation", "parse_display_matrix"]


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations of a rectangle: transpose, then mirror.

    Attributes:
        transpose: True swaps rows and columns.
        mirror_x: True then swaps left and right.
        mirror_y: True then swaps top and bottom.
        exact: False if the matrix does not turn by quarters; it is then ignored.
    """

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False
    exact: bool = True

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture as shown: uint8, H x W x 3, C-contiguous."""
        if self.transpose:
            pixels = pixels.transpose(1, 0, 2)
        if self.mirror_x:
            pixels = pixels[:, ::-1]
        if self.mirror_y:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height as shown."""
        return (height, width) if self.transpose else (width, height)


#: Orientation of a picture that is shown as stored.
UPRIGHT = Orientation()


def parse_display_matrix(content: bytes) -> Orientation:
    """Read a display matrix in the format of containers.

    Args:
        content: Nine 32-bit integers, ``a b u c d v x y w``, 16.16 fixed point but the third
            column. A pixel at ``(p, q)``, q downwards, is shown at ``(a p + c q, b p + d q)``.

    Returns:
        The orientation; not exact if the matrix shears, or turns by other angles than quarters.
    """
    if len(content) != 36:
        return Orientation(exact=False)
    a, b, _, c, d, *_ = struct.unpack("=9i", content)
    straight, crossed = math.hypot(a, d), math.hypot(b, c)
    smaller, larger = sorted((straight, crossed))
    # Allow half a degree: matrices are written from rounded sines.
    if larger == 0 or smaller > 0.0087 * larger:
        return Orientation(exact=False)
    if straight > crossed:
        return Orientation(mirror_x=a < 0, mirror_y=d < 0)
    return Orientation(transpose=True, mirror_x=c < 0, mirror_y=b < 0)
