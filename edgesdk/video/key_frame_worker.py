"""A worker thread that searches for key frames while earlier frames are rendered."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

import numpy as np
from numpy.typing import NDArray

from edgesdk.video.frames import Frame
from edgesdk.video.key_frames import Judgement, KeyframeFinder

__all__ = ["KeyFrameWorker"]


class KeyFrameWorker:
    """One worker thread that judges frames in the order they come.

    The native core releases Python's lock, so that the search of one core and the rendering of
    another keep all processors busy. Alone, each waits at every step for its slowest thread.

    Args:
        finder: The finder. Only the worker calls it from the first :meth:`ask` on; not closed here.

    Attributes:
        seconds: Time spent on the judgements given out so far.
    """

    def __init__(self, finder: KeyframeFinder) -> None:
        self.seconds = 0.0
        self._finder = finder
        self._asked: deque[tuple[Frame, Future[tuple[Judgement, float]]]] = deque()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgesdk-judge")

    def __len__(self) -> int:
        """Return the number of frames whose judgement has not been given out."""
        return len(self._asked)

    def ask(self, frame: Frame) -> None:
        """Queue a frame for judging; its pixels must not change until then."""
        self._asked.append((frame, self._worker.submit(self._judged, frame.pixels)))

    def _judged(self, pixels: NDArray[np.uint8]) -> tuple[Judgement, float]:
        started = time.perf_counter()
        judgement = self._finder.judge(pixels)
        return judgement, time.perf_counter() - started

    def answers(self, *, wait: bool = False) -> Iterator[tuple[Frame, Judgement]]:
        """Yield the frames whose judgement is ready, each once, in the order of :meth:`ask`.

        Args:
            wait: Wait for at least one, if any frame is queued.
        """
        while self._asked and (wait or self._asked[0][1].done()):
            wait = False
            frame, future = self._asked.popleft()
            judgement, seconds = future.result()
            self.seconds += seconds
            yield frame, judgement

    def settle(self) -> None:
        """Wait until every queued frame is judged; :meth:`answers` then gives them out."""
        wait_for([future for _, future in self._asked])

    def close(self) -> None:
        """End the worker after the present frame; waiting ones are dropped."""
        self._worker.shutdown(cancel_futures=True)
        self._asked.clear()
