"""Frames judged in a worker while those before them are rendered."""

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

    The native core lets go of Python's lock, so that its search for key frames and the rendering of
    another core keep all processors busy: alone, either waits for the slower half of its threads at
    every step.

    Args:
        finder: Called in the worker alone from the first :meth:`ask` on; not closed here.

    Attributes:
        seconds: Spent judging what has been answered so far.
    """

    def __init__(self, finder: KeyframeFinder) -> None:
        self.seconds = 0.0
        self._finder = finder
        self._asked: deque[tuple[Frame, Future[tuple[Judgement, float]]]] = deque()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgesdk-judge")

    def __len__(self) -> int:
        """Frames that were asked about and have not been answered."""
        return len(self._asked)

    def ask(self, frame: Frame) -> None:
        """Have a frame judged; its pixels must not change until they are."""
        self._asked.append((frame, self._worker.submit(self._judged, frame.pixels)))

    def _judged(self, pixels: NDArray[np.uint8]) -> tuple[Judgement, float]:
        started = time.perf_counter()
        judgement = self._finder.judge(pixels)
        return judgement, time.perf_counter() - started

    def answers(self, *, wait: bool = False) -> Iterator[tuple[Frame, Judgement]]:
        """What has been judged, in the order that was asked.

        Args:
            wait: For at least one answer, where anything was asked.

        Yields:
            Frames and their judgements, each once.
        """
        while self._asked and (wait or self._asked[0][1].done()):
            wait = False
            frame, future = self._asked.popleft()
            judgement, seconds = future.result()
            self.seconds += seconds
            yield frame, judgement

    def settle(self) -> None:
        """Wait until every frame asked about has been judged; :meth:`answers` still gives them."""
        wait_for([future for _, future in self._asked])

    def close(self) -> None:
        """End the worker, after the frame it is at; those that wait are left."""
        self._worker.shutdown(cancel_futures=True)
        self._asked.clear()
