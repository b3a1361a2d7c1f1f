"""Decide when a call of the training loop ends and when it writes a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = [
    "CheckpointTimer",
    "StopRequest",
]


class StopRequest:
    """Decide if this call ends.

    Args:
        stop: Called after every step; returns True to end the call.
        after_steps: Number of steps after which the call ends; None for no limit.
    """

    def __init__(self, stop: Callable[[], bool] | None, after_steps: int | None) -> None:
        self._stop = stop
        self._after_steps = after_steps

    def last(self, steps: int) -> bool:
        """Return True if this call ends after ``steps`` steps; equal in every process."""
        return self._after_steps is not None and steps >= self._after_steps

    def now(self) -> bool:
        """Return True if this process asks to end."""
        return self._stop is not None and self._stop()


class CheckpointTimer:
    """Decide when the next checkpoint is due.

    Args:
        steps: Steps between checkpoints; 0 to go by time alone.
        seconds: Seconds between checkpoints.
    """

    def __init__(self, steps: int, seconds: float) -> None:
        self._steps = steps
        self._seconds = seconds
        self._written = time.monotonic()

    def at(self, step: int) -> bool:
        """Return True if a checkpoint is due at a step; equal in every process."""
        return self._steps > 0 and step % self._steps == 0

    def now(self) -> bool:
        """Return True if a checkpoint is due by this process's clock."""
        return time.monotonic() - self._written >= self._seconds

    def written(self) -> None:
        """Restart the clock after a checkpoint."""
        self._written = time.monotonic()
