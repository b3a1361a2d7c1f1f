"""Convert frames to RGB and back with the matrix and range of the file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesdk.video.media.backend import pyav
from edgesdk.video.media.properties import ColourTags

__all__ = ["FromRgb", "ToRgb", "assumed_colour", "colour_of", "is_high_dynamic_range"]

_RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 6
_LIMITED, _FULL = 1, 2
#: Transfer characteristics of high dynamic range: PQ and HLG.
_HIGH_DYNAMIC_RANGE = (16, 18)

#: swscale's number for each matrix (H.273) that it can convert to.
_SCALER_NAMES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}


def assumed_colour(width: int, height: int) -> ColourTags:
    """Return what players assume of an untagged file: BT.601 below 720p, else BT.709."""
    large = width >= 1280 or height > 576
    return ColourTags(matrix=_BT709 if large else _BT601, full_range=False)


def colour_of(frame: Any) -> ColourTags:
    """Return the colour tags of a decoded frame, missing ones assumed.

    Args:
        frame: An ``av.VideoFrame``. RGB and grey frames get the tags of a file made of them.
    """
    assumed = assumed_colour(frame.width, frame.height)
    matrix = int(frame.colorspace)
    return ColourTags(
        matrix=matrix if matrix in _SCALER_NAMES else assumed.matrix,
        full_range=not frame.format.is_rgb and _is_full_range(frame),
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
    )


def is_high_dynamic_range(colour: ColourTags) -> bool:
    """Return True for a high dynamic range (PQ, HLG)."""
    return colour.transfer in _HIGH_DYNAMIC_RANGE


def _is_full_range(frame: Any) -> bool:
    # The formats of old JPEG files have the range in their names, which wins over the tag.
    return frame.format.name.startswith("yuvj") or int(frame.color_range) == _FULL


class _Scaler:
    """swscale with correct rounding and interpolated chroma.

    Its faster modes are off by up to 3 of 255 and repeat each chroma sample.
    """

    def __init__(self) -> None:
        pyav()
        from av.video.reformatter import Interpolation, VideoReformatter

        self._reformatter: Any = VideoReformatter()
        self._flags = (
            Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
        )


class ToRgb(_Scaler):
    """Converts decoded frames of any pixel format to RGB."""

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        """Convert an ``av.VideoFrame`` to uint8, H x W x 3, C-contiguous, in a buffer of its own.

        Raises:
            av.FFmpegError: The pixel format cannot be converted.
        """
        if not frame.format.is_rgb:
            frame.color_range = _FULL if _is_full_range(frame) else _LIMITED
            if int(frame.colorspace) in (_UNSPECIFIED, _RGB):
                frame.colorspace = assumed_colour(frame.width, frame.height).matrix
        converted = self._reformatter.reformat(
            frame, format="rgb24", interpolation=self._flags, threads=1
        )
        plane = converted.planes[0]
        width, height = converted.width, converted.height
        rows: NDArray[np.uint8] = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        rows = rows[:height, : 3 * width]
        # The decoder may still use the buffer of a frame that needed no conversion.
        if converted is frame or not rows.flags.c_contiguous:
            rows = rows.copy()
        return rows.reshape(height, width, 3)


class FromRgb(_Scaler):
    """Converts RGB to frames of yuv420p for an encoder.

    Args:
        colour: Colour tags of the file.
    """

    def __init__(self, colour: ColourTags) -> None:
        super().__init__()
        self._colour = colour

    def __call__(self, pixels: NDArray[np.uint8]) -> Any:
        """Convert uint8, H x W x 3, to an ``av.VideoFrame``; the pixels are not kept."""
        frame = pyav().VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), format="rgb24")
        converted = self._reformatter.reformat(
            frame,
            format="yuv420p",
            dst_colorspace=_SCALER_NAMES[self._colour.matrix],
            dst_color_range=_FULL if self._colour.full_range else _LIMITED,
            interpolation=self._flags,
            threads=1,
        )
        converted.colorspace = self._colour.matrix
        converted.color_primaries = self._colour.primaries
        converted.color_trc = self._colour.transfer
        return converted
