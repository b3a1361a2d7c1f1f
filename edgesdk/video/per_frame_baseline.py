"""The baseline of the comparison: every frame painted by itself."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from edgesdk.host.closing import Closing
from edgesdk.video.core import VideoCore
from edgesdk.video.frames import Enlarger, Painter
from edgesdk.video.painter_worker import PainterWorker
from edgesdk.video.strength import StrengthBlend
from edgesdk.video.timing import timed

__all__ = ["EveryFrame", "SerializedPainter"]

Picture = NDArray[np.uint8]


class SerializedPainter:
    """A painter that runs one call at a time, and measures its time alone.

    Args:
        painter: The stylizer.
        lock: Lock shared by all wrappers of the same painter.

    Attributes:
        seconds: Time in the painter so far, without waiting for the lock.
    """

    def __init__(self, painter: Painter, lock: threading.Lock) -> None:
        self.seconds = 0.0
        self._painter = painter
        self._lock = lock

    def __call__(self, pixels: Picture) -> Picture:
        """Paint once the lock is free."""
        with self._lock, timed(self, "seconds"):
            return self._painter(pixels)


class EveryFrame(Closing):
    """Paints each frame by itself, scaled down and enlarged as the engine does with key frames.

    Args:
        painter: The stylizer; where it fails, the painting before stands.
        width, height: Size of the frames, pixels.
        max_size: Longest side the painter sees; None: full size.
        strength: Blend factor of the painting over the original, 0..1.
        threads: Threads of the native core.
        enlarge: Network that enlarges the paintings; None: the native core.

    Attributes:
        seconds: Time of enlarging and blending so far, without the painter.
    """

    def __init__(
        self,
        painter: Painter,
        width: int,
        height: int,
        *,
        max_size: int | None = 512,
        strength: float = 1.0,
        threads: int = 0,
        enlarge: Enlarger | None = None,
    ) -> None:
        self.seconds = 0.0
        self._enlarge = enlarge
        self._before: Picture | None = None
        with ExitStack() as stack:
            self._core = stack.enter_context(VideoCore(width, height, threads=threads))
            self._painting = stack.enter_context(PainterWorker(painter, max_size, 1))
            self._blend = StrengthBlend(strength, width, height)
            self._resources = stack.pop_all()

    def paint(self, pixels: Picture) -> Picture:
        """Paint a frame, uint8, H x W x 3; the result is never overwritten."""
        painting = self._painting.paint(pixels).result()
        answer = painting.pixels
        with timed(self, "seconds"):
            if answer is None:
                answer = pixels if self._before is None else self._before
            elif answer.shape != pixels.shape:
                if self._enlarge is None:
                    answer = self._core.upscale(answer, pixels, shrunk=painting.shown)
                else:
                    answer = self._enlarge(answer, pixels)
            self._before = answer
            if self._blend.whole:
                return answer
            return self._blend.blend(pixels, answer, np.empty_like(pixels))

    def close(self) -> None:
        """Free memory and threads."""
        self._resources.close()
