"""Checks of pictures in NumPy arrays before native code sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import UsageError
from edgesdk.video.abi import FORMATS, ImageStruct

__all__ = ["Bytes", "checked_picture", "has_plain_rows", "image_view"]

Bytes = NDArray[np.uint8]


def checked_picture(name: str, array: object, size: tuple[int, int] | None, grey: bool) -> Bytes:
    """Check an array that holds a picture.

    Args:
        name: Name of the argument, for the error.
        array: The array: uint8, H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA).
        size: Required width and height; None: any.
        grey: True accepts H x W.

    Raises:
        UsageError: It is something else, or it is empty.
    """
    channels = (1, 3, 4) if grey else (3, 4)
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        found = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise UsageError(f"{name} must be a NumPy array of uint8, not {found}")
    depth = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if depth not in channels or (depth == 1) != (array.ndim == 2):
        wanted = "H x W, H x W x 3 or H x W x 4" if grey else "H x W x 3 or H x W x 4"
        raise UsageError(f"{name} must be {wanted}, not {array.shape}")
    if size is not None and array.shape[:2] != (size[1], size[0]):
        raise UsageError(
            f"{name} is {array.shape[1]} x {array.shape[0]}, and {size[0]} x {size[1]} is needed"
        )
    if 0 in array.shape:
        raise UsageError(f"{name} is empty: {array.shape}")
    return array


def has_plain_rows(array: Bytes) -> bool:
    """Return True if pixels lie side by side in rows from the top, as the core needs them."""
    depth = 1 if array.ndim == 2 else array.shape[2]
    inner = array.strides[1:] == ((depth, 1) if array.ndim == 3 else (1,))
    return inner and array.strides[0] >= depth * array.shape[1]


def with_plain_rows(array: Bytes) -> Bytes:
    """Return the array, or a copy if its pixels lie otherwise; see :func:`has_plain_rows`."""
    return array if has_plain_rows(array) else np.ascontiguousarray(array)


def image_view(array: Bytes) -> ImageStruct:
    """Describe an array with plain rows to the core; valid as long as the array lives."""
    depth = 1 if array.ndim == 2 else array.shape[2]
    return ImageStruct(
        array.ctypes.data, array.shape[1], array.shape[0], array.strides[0], FORMATS[depth]
    )
