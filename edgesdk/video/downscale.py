"""Scale pictures down by area with the native core."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import UsageError
from edgesdk.video.abi import call, native
from edgesdk.video.pictures import checked_picture, image_view, with_plain_rows

__all__ = ["shrunk_picture"]


def shrunk_picture(original: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale a picture down by area: every pixel is the mean of the area it covers.

    Args:
        original: uint8, H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA).
        width, height: Size of the result (uint8, RGB), from 1 x 1 to the picture's own.

    Raises:
        UsageError: The array is not a picture, or the new size is larger or empty.
        MissingEnvironmentError: The native core cannot be built, or memory is exhausted.
    """
    picture = with_plain_rows(checked_picture("original", original, None, grey=True))
    if not (1 <= width <= picture.shape[1] and 1 <= height <= picture.shape[0]):
        raise UsageError(
            f"{picture.shape[1]} x {picture.shape[0]} pixels cannot be shrunk to "
            f"{width} x {height}",
            remedy="choose a size from 1 x 1 to the picture's own",
        )
    small = np.empty((height, width, 3), np.uint8)
    call(native(), "shrink", *(ctypes.byref(image_view(one)) for one in (picture, small)))
    return small
