"""When a call of the loop ends and when it writes a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = [
    "CheckpointTimer",
    "StopRequest",
]


class StopRequest:
    """Whether this call should end."""

    def __init__(self, stop: Callable[[], bool] | None, after_steps: int | None) -> None:
        self._stop = stop
        self._after_steps = after_steps

    def last(self, steps: int) -> bool:
        """After so many steps of this call, in every process alike."""
        return self._after_steps is not None and steps >= self._after_steps

    def now(self) -> bool:
        """In this process."""
        return self._stop is not None and self._stop()


class CheckpointTimer:
    """When the next checkpoint is due."""

    def __init__(self, steps: int, seconds: float) -> None:
        self._steps = steps
        self._seconds = seconds
        self._written = time.monotonic()

    def at(self, step: int) -> bool:
        """At a step of an epoch, in every process alike."""
        return self._steps > 0 and step % self._steps == 0

    def now(self) -> bool:
        """By the clock of this process."""
        return time.monotonic() - self._written >= self._seconds

    def written(self) -> None:
        """A checkpoint was written."""
        self._written = time.monotonic()
