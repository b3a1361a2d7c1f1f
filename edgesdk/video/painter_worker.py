"""A worker thread that paints key frames while other frames are searched and rendered."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import EdgeSdkError, UsageError
from edgesdk.host.closing import Closing
from edgesdk.video.downscale import shrunk_picture
from edgesdk.video.frames import Painter

__all__ = ["PainterWorker", "Painting", "PaintingTask", "painter_size"]

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Painting:
    """Result of painting a key frame.

    Attributes:
        pixels: The painting, of the size the painter was shown; None if the painter failed.
        shown: The picture that the painter was shown, if it was scaled down.
        failure: Error of the painter in one line; None if it succeeded.
        seconds: Time in the painter, scaling down included.
    """

    pixels: Picture | None
    shown: Picture | None
    failure: str | None
    seconds: float


class PaintingTask:
    """A key frame on its way through the painter."""

    def __init__(self, original: Picture) -> None:
        self._original: Picture | None = original
        self._finished = threading.Event()
        self._painting: Painting | None = None

    @property
    def done(self) -> bool:
        """True if :meth:`result` returns at once."""
        return self._finished.is_set()

    def result(self) -> Painting:
        """Wait for the painting."""
        self._finished.wait()
        if self._painting is None:
            raise UsageError("the painter was closed before it reached this key frame")
        return self._painting

    def _finish(self, painting: Painting | None) -> None:
        self._original = None
        self._painting = painting
        self._finished.set()


def painter_size(width: int, height: int, max_size: int | None) -> tuple[int, int]:
    """Return the width and height a painter is shown: at most ``max_size`` on the longer side."""
    longest = max(width, height)
    if max_size is None or longest <= max_size:
        return width, height
    return (
        max(1, (width * max_size + longest // 2) // longest),
        max(1, (height * max_size + longest // 2) // longest),
    )


class PainterWorker(Closing):
    """One worker thread that paints key frames in the order they come.

    Args:
        painter: The stylizer. Only the worker calls it, so that it need not be thread safe.
        max_size: Longest side the painter is shown, pixels; None: full size.
        waiting: Maximum number of waiting key frames; :meth:`paint` blocks beyond it.
    """

    def __init__(self, painter: Painter, max_size: int | None, waiting: int) -> None:
        self._painter = painter
        self._max_size = max_size
        self._queue: queue.Queue[PaintingTask | None] = queue.Queue(max(1, waiting))
        self._stopping = threading.Event()
        self._worker = threading.Thread(target=self._work, name="edgesdk-painter", daemon=True)
        self._worker.start()

    def paint(self, original: Picture) -> PaintingTask:
        """Queue a key frame for painting; it must not change until it is painted."""
        if self._stopping.is_set():
            raise UsageError("this painter is closed")
        task = PaintingTask(original)
        self._queue.put(task)
        return task

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            original = task._original
            skipped = self._stopping.is_set() or original is None
            task._finish(None if skipped or original is None else self._painted(original))

    def _painted(self, original: Picture) -> Painting:
        started = time.perf_counter()
        pixels, shown, failure = None, None, None
        try:
            shown = self._shown(original)
            # Other frames need this one: the painter must not alter it.
            given = original.view() if shown is None else shown.copy()
            given.flags.writeable = shown is not None
            pixels, failure = _checked(self._painter(given), given.shape)
        # A painter is the user's own code: any error costs one key frame, and its message goes into
        # the summary.
        except Exception as error:  # noqa: BLE001
            failure = _first_line(error)
        return Painting(pixels, shown, failure, time.perf_counter() - started)

    def _shown(self, original: Picture) -> Picture | None:
        full = (original.shape[1], original.shape[0])
        size = painter_size(*full, self._max_size)
        return None if size == full else shrunk_picture(original, *size)

    def close(self) -> None:
        """End the worker after the present key frame; waiting ones are dropped."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._queue.put(None)
            self._worker.join()


def _checked(answer: object, shape: tuple[int, ...]) -> tuple[Picture | None, str | None]:
    """Return a copy of a painter's answer, or its error."""
    if not isinstance(answer, np.ndarray):
        return None, f"the painter returned {type(answer).__name__}, not an array"
    if answer.dtype.kind == "f" and not np.isfinite(answer).all():
        return None, "the painter returned values that are not finite"
    if answer.dtype != np.uint8:
        return None, f"the painter returned {answer.dtype}, and uint8 is needed"
    if answer.shape != shape:
        returned, wanted = (" x ".join(map(str, sizes)) for sizes in (answer.shape, shape))
        return None, f"the painter returned {returned} for {wanted}"
    # The painter may write its next answer into the same memory.
    return np.array(answer, order="C"), None


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, EdgeSdkError) else str(error)
    lines = text.strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
