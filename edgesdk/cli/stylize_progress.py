"""A stylizing run in the terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from edgesdk.video.stylize import StylizeProgress

__all__ = ["StylizeBar", "clock"]

#: Seconds between two plain lines, and between two changes of the bar.
_LINE_EVERY = 5.0
_BAR_EVERY = 0.1


def clock(seconds: float) -> str:
    """Seconds as ``4:07`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class StylizeBar:
    """A bar with frames a second and time left; plain lines without a terminal.

    Args:
        silent: Print nothing.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._started = time.monotonic()
        self._last = self._started
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if not self._silent and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.fields[doing]}", style="bold"),
                BarColumn(bar_width=None),
                TextColumn("{task.description}", markup=False),
                console=Console(file=sys.stderr),
                expand=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def told(self, progress: StylizeProgress) -> None:
        """The run has come further."""
        if self._silent:
            return
        now = time.monotonic()
        ended = progress.done == progress.total
        every = _LINE_EVERY if self._bar is None else _BAR_EVERY
        new = progress.doing not in self._tasks
        if now - self._last < every and not ended and not (new and self._bar is not None):
            return
        self._last = now
        # Totals are what containers say, and some say too little.
        total = progress.total
        known = total is not None and progress.done <= total
        text = f"{progress.done}/{total}" if known else f"{progress.done}"
        text += f"  {progress.frames_per_second:.1f} frames/s"
        if progress.seconds_left is not None and known:
            text += f"  {clock(progress.seconds_left)} left"
        if self._bar is None:
            sys.stderr.write(f"{now - self._started:6.1f} s  {progress.doing}: {text}\n")
            sys.stderr.flush()
            return
        if new:
            self._tasks[progress.doing] = self._bar.add_task(
                text, total=total, doing=progress.doing
            )
        self._bar.update(
            self._tasks[progress.doing], completed=progress.done, total=total, description=text
        )
