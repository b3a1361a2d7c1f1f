"""Metrics of videos: steadiness (warp error, flicker) and similarity (SSIM, PSNR).

Each metric is a meter that takes frame after frame in constant memory. The functions of the same
names run a meter over whole videos.

*Warp error*, as in "Learning Blind Video Temporal Consistency" (ECCV 2018): the next output, warped
to this frame along the flow of the originals, is compared with this output in pixels that pass the
forward-backward check. The squared difference is averaged over those pixels and the channels of a
pair of frames, then over the pairs. An untouched video does not reach zero either: noise, light and
errors of the flow remain. A video's own warp error is therefore the floor; compare figures of one
video only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import UsageError
from edgesdk.host.closing import Closing
from edgesdk.video.checks import whole_number
from edgesdk.video.core import VideoCore
from edgesdk.video.picture_quality import (
    check_picture,
    decibels,
    luma,
    mean_square,
    psnr,
    square_sum,
    ssim,
)

__all__ = [
    "Flicker",
    "Likeness",
    "WarpError",
    "WarpErrorResult",
    "flicker",
    "luma",
    "psnr",
    "ssim",
    "warp_error",
]

Picture = NDArray[np.uint8]

_BLOCK = 16


@dataclass(frozen=True)
class WarpErrorResult:
    """The warp error of one video.

    Attributes:
        mean_square: Mean square as published: values in 0..1, averaged over the pairs of frames.
        root: Its square root, values in 0..255.
        pairs: Number of compared pairs of frames; 0 for fewer than two frames.
        visible: Share of the pixels that were compared, 0..1.
    """

    mean_square: float
    root: float
    pairs: int
    visible: float


class WarpError(Closing):
    """Warp error of one or more videos made from the same originals, frame by frame.

    The native core estimates the flow once for each pair of frames, in precise quality. Warped
    pictures are rounded to whole levels.

    Args:
        width, height: Size of the frames, pixels.
        videos: Number of videos.
        threads: Threads of the native core; 0: one a processor, at most 4.
        flow_size: Width and height of the flow; by default the frame's shape within 480 x 270.

    Raises:
        UsageError: An argument is out of its range.
        MissingEnvironmentError: The native core cannot be built.
    """

    def __init__(
        self,
        width: int,
        height: int,
        videos: int = 1,
        *,
        threads: int = 0,
        flow_size: tuple[int, int] | None = None,
    ) -> None:
        whole_number("videos", videos, 1)
        self._core = VideoCore(
            width, height, threads=threads, quality="precise", flow_size=flow_size
        )
        self._warped = np.empty((height, width, 3), np.uint8)
        self._before: tuple[Picture, tuple[Picture, ...]] | None = None
        self._totals = [0.0] * videos
        self._pairs = 0
        self._visible = 0.0

    def add(self, original: Picture, *outputs: Picture) -> None:
        """Add the next frame.

        Args:
            original: uint8, H x W x 3.
            outputs: That frame of each video, likewise; unchanged until the next frame is added.

        Raises:
            UsageError: A picture has another size, or the numbers of pictures and videos differ.
        """
        if len(outputs) != len(self._totals):
            raise UsageError(f"{len(outputs)} pictures for {len(self._totals)} videos")
        for picture in (original, *outputs):
            check_picture(picture, self._core.size)
        before, self._before = self._before, (original, outputs)
        if before is None:
            return
        core = self._core
        core.set_frame(before[0])
        core.set_key("a", original)
        core.estimate("a")
        visible = _full_size(core.validity("a")[0], core.size)
        count = int(np.count_nonzero(visible))
        self._visible += count / visible.size
        if not count:
            # A cut: the next frame shows nothing of this one.
            return
        self._pairs += 1
        for place, (this, following) in enumerate(zip(before[1], outputs, strict=True)):
            core.set_painted("a", following)
            warped = core.render(before[0], use="a", out=self._warped)
            self._totals[place] += square_sum(warped, this, visible) / (3 * count * 255**2)

    def results(self) -> tuple[WarpErrorResult, ...]:
        """Return the warp error of each video so far; NaN before the second frame."""
        visible = self._visible / self._pairs if self._pairs else 0.0
        means = [total / self._pairs if self._pairs else math.nan for total in self._totals]
        return tuple(
            WarpErrorResult(mean, 255 * math.sqrt(mean), self._pairs, visible) for mean in means
        )

    def close(self) -> None:
        """Free memory and threads."""
        self._core.close()


def _full_size(valid: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Enlarge a mask to full size: true where all pixels that are interpolated from are valid."""
    height, width = valid.shape
    if (width, height) == size:
        return valid
    padded = np.pad(valid, 1, mode="edge")
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    inner = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    y = (np.arange(size[1]) * 2 + 1) * height // (2 * size[1])
    x = (np.arange(size[0]) * 2 + 1) * width // (2 * size[0])
    return inner[y][:, x]


class Flicker:
    """Swing of the brightness back and forth from frame to frame, in levels of 0..255.

    Brightness is averaged over blocks of 16 x 16 pixels, so that small motion does not count. A
    still picture and a steady fade do not flicker; brightness that alternates between two levels
    flickers by their distance.
    """

    def __init__(self) -> None:
        self._before: list[NDArray[np.float32]] = []
        self._total = 0.0
        self._count = 0

    def add(self, picture: Picture) -> None:
        """Add the next frame, uint8, H x W x 3.

        Raises:
            UsageError: It is not a picture, or has another size than those before.
        """
        check_picture(picture, None)
        blocks = _blocks(luma(picture))
        if self._before and self._before[-1].shape != blocks.shape:
            raise UsageError("the picture's size has changed")
        if len(self._before) == 2:
            first, second = self._before
            swing = np.abs((blocks - second) - (second - first)) / 2
            self._total += float(swing.mean(dtype=np.float64))
            self._count += 1
        self._before = [*self._before[-1:], blocks]

    def result(self) -> float:
        """Return the mean so far; NaN before the third frame."""
        return self._total / self._count if self._count else math.nan


def _blocks(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return means of blocks of 16 x 16, smaller at the right and lower edges."""
    down = np.arange(0, grey.shape[0], _BLOCK)
    across = np.arange(0, grey.shape[1], _BLOCK)
    sums = np.add.reduceat(np.add.reduceat(grey, down, axis=0), across, axis=1)
    tall = np.diff(np.append(down, grey.shape[0]))
    wide = np.diff(np.append(across, grey.shape[1]))
    return (sums / np.outer(tall, wide)).astype(np.float32)


class Likeness:
    """SSIM and PSNR of one video against another, frame by frame."""

    def __init__(self) -> None:
        self._similarity = 0.0
        self._square = 0.0
        self._count = 0

    def add(self, first: Picture, second: Picture) -> None:
        """Add the next frame of both; see :func:`ssim`."""
        self._similarity += ssim(first, second)
        self._square += mean_square(first, second)
        self._count += 1

    @property
    def ssim(self) -> float:
        """Mean over the frames; NaN before the first."""
        return self._similarity / self._count if self._count else math.nan

    @property
    def psnr(self) -> float:
        """PSNR of the mean squared difference over all frames, dB; infinite for equal videos."""
        return decibels(self._square / self._count) if self._count else math.nan


def warp_error(
    originals: Iterable[Picture], outputs: Iterable[Picture], *, threads: int = 0
) -> WarpErrorResult:
    """Return the warp error of a video; pass the originals twice for the floor.

    Args:
        originals: Frames of the untouched video, uint8, H x W x 3.
        outputs: As many frames of the video to measure.
        threads: Threads of the native core.

    Raises:
        UsageError: The videos differ in length, or pictures differ in size.
        MissingEnvironmentError: The native core cannot be built.
    """
    meter: WarpError | None = None
    with ExitStack() as stack:
        for original, output in itertools.zip_longest(originals, outputs):
            if original is None or output is None:
                raise UsageError("the two videos differ in length")
            check_picture(original, None)
            if meter is None:
                meter = WarpError(original.shape[1], original.shape[0], threads=threads)
                stack.enter_context(meter)
            meter.add(original, output)
        return meter.results()[0] if meter else WarpErrorResult(math.nan, math.nan, 0, 0.0)


def flicker(pictures: Iterable[Picture]) -> float:
    """Return the flicker of a video; see :class:`Flicker`."""
    meter = Flicker()
    for picture in pictures:
        meter.add(picture)
    return meter.result()
