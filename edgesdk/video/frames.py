"""Frames with their times: input and output of the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import UsageError
from edgesdk.video.checks import array_kind

__all__ = ["Enlarger", "Frame", "PaintedFrame", "Painter", "check_frame", "is_rgb_picture"]

#: A stylizer: uint8, H x W x 3, RGB in and out, of the same size. It must not change its input.
Painter = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

#: Enlarges the painting of a scaled-down picture to the size of that picture, its second argument.
Enlarger = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a video.

    Attributes:
        index: 0, 1, ...
        time: Seconds from the start.
        pixels: uint8, H x W x 3, RGB, C-contiguous. A source must not change the pixels of a frame
            that it has yielded: the engine keeps frames until the next key frame is painted.
    """

    index: int
    time: Fraction
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PaintedFrame:
    """One picture of the painted video.

    Attributes:
        index: Index of the :class:`Frame` it was made from.
        time: Time of that frame.
        pixels: uint8, H x W x 3, RGB, C-contiguous. They do not change while somebody holds them;
            their memory is reused for later frames once nobody does.
        key: True if the painter saw this frame.
        reasons: Reasons why it is a key frame: ``first``, ``cut``, ``occluded``, ``residual``,
            ``interval``, ``last``, ``before_cut``; empty for a frame in between.
        failure: Error of the painter on this key frame; the paint before stands there.
    """

    index: int
    time: Fraction
    pixels: NDArray[np.uint8]
    key: bool = False
    reasons: tuple[str, ...] = ()
    failure: str | None = None


def is_rgb_picture(value: object) -> TypeGuard[NDArray[np.uint8]]:
    """Return True if ``value`` is uint8, H x W x 3, with at least one pixel."""
    return (
        isinstance(value, np.ndarray)
        and value.dtype == np.uint8
        and value.ndim == 3
        and value.shape[2] == 3
        and 0 not in value.shape
    )


def check_frame(frame: Frame) -> None:
    """Check a frame that a source has yielded.

    Raises:
        UsageError: Its pixels are not uint8, H x W x 3, or there are none.
    """
    if not is_rgb_picture(frame.pixels):
        found = array_kind(frame.pixels)
        raise UsageError(f"frame {frame.index} must be uint8, H x W x 3, not {found}")
