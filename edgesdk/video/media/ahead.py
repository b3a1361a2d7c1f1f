"""A thread that decodes frames while earlier ones are painted."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from edgesdk.host.closing import Closing
from edgesdk.video.frames import Frame
from edgesdk.video.media.properties import Source
from edgesdk.video.timing import timed

__all__ = ["ReadAhead"]


class ReadAhead(Closing):
    """Iterates a source in a thread of its own, a few frames ahead of the consumer.

    Decoding and colour conversion release Python's lock, so that they run beside the painting.

    Args:
        source: The source; not closed here.
        frames: Maximum number of waiting frames, which bounds the memory.

    Attributes:
        seconds: Time in the source so far, including time that nobody waited for.
    """

    def __init__(self, source: Source, frames: int = 4) -> None:
        self.seconds = 0.0
        self._source = source
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(max(1, frames))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="edgesdk-reader", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            frames = iter(self._source)
            while not self._stopping.is_set():
                with timed(self, "seconds"):
                    frame = next(frames, None)
                if not self._put(frame) or frame is None:
                    return
        # An error of the source is raised in the consumer.
        except BaseException as error:  # noqa: BLE001
            self._put(error)

    def _put(self, entry: Frame | BaseException | None) -> bool:
        while not self._stopping.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[Frame]:
        while True:
            entry = self._queue.get()
            if entry is None:
                return
            if isinstance(entry, BaseException):
                raise entry
            yield entry

    def close(self) -> None:
        """End the thread; then the source may be closed."""
        self._stopping.set()
        while self._thread.is_alive():
            # The thread may be waiting for room.
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.05)
