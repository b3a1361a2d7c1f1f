"""A training run in the terminal: its bar, and the signals that ask it to stop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgesdk.cli.interruption import Interruption

if TYPE_CHECKING:
    from edgesdk.training.history import Progress
    from edgesdk.training.style.history import StyleProgress

__all__ = ["StopAsked", "TrainingProgress"]

#: Seconds between two plain lines within an epoch.
_LINE_EVERY = 10.0
#: Seconds in which a second signal is the same press: the terminal and a launcher both send one.
_SAME_PRESS = 2.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingProgress:
    """A bar with losses, pictures a second and time left; plain lines without a terminal.

    Args:
        silent: Print nothing.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._started = time.monotonic()
        self._last_line = self._started
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if not self._silent and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("training", style="bold"),
                BarColumn(bar_width=None),
                TextColumn("{task.completed}/{task.total}"),
                # Names of folders may be in it: no markup.
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

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._silent:
            return
        seconds = time.monotonic() - self._started
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            sys.stderr.write(f"{seconds:6.1f} s  {text}\n")
            sys.stderr.flush()

    def at(self, step: int, steps: int, text: str) -> None:
        """The run has come to a step; without a terminal, a line now and then.

        Args:
            step: Steps done.
            steps: Of the whole run.
            text: What else there is to say.
        """
        if self._silent:
            return
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=steps)
            self._bar.update(self._task, completed=step, description=text)
        elif time.monotonic() - self._last_line >= _LINE_EVERY:
            self._last_line = time.monotonic()
            self.say(f"step {step}/{steps}  {text}")

    def told(self, progress: Progress) -> None:
        """The training of a classifier has come further."""
        if self._silent:
            return
        text = (
            f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}  "
            f"top-1 {progress.top1:.1%}  {progress.images_per_second:,.0f} images/s  "
            f"{_clock(progress.seconds_left)} left"
        )
        record = progress.record
        if record is not None:
            held = record.validation_top1
            self.say(
                f"epoch {record.epoch}/{progress.epochs}  loss {record.loss:.4f}  "
                f"top-1 {record.top1:.2%}"
                + (f"  val top-1 {held:.2%}" if held is not None else "")
                + f"  {record.images_per_second:,.0f} images/s  "
                f"{_clock(progress.seconds_left)} left"
            )
            self._last_line = time.monotonic()
        self.at(progress.step, progress.steps, text)

    def told_style(self, progress: StyleProgress) -> None:
        """The training of a stylizer has come further."""
        record = progress.record
        parts = "  ".join(f"{name} {value:.4f}" for name, value in record.losses.items() if value)
        if progress.preview is not None:
            self.say(f"step {progress.step}: painted {progress.preview}")
        self.at(
            progress.step,
            progress.steps,
            f"{parts}  {record.pictures_per_second:.1f} pictures/s  "
            f"{_clock(progress.seconds_left)} left",
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class StopAsked:
    """Takes signals while the body runs, so that a run ends between two steps.

    A second signal, two seconds or more after the first, ends the command at once.

    Args:
        graceful: False to leave the signals to whoever has them.

    Attributes:
        number: The signal that came, or None.
    """

    def __init__(self, *, graceful: bool) -> None:
        self.number: int | None = None
        self._graceful = graceful and threading.current_thread() is threading.main_thread()
        self._first = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._graceful:
            for number in _SIGNALS:
                before = signal.getsignal(number)
                # Whoever started the command with a signal ignored wants it so.
                if before is not signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._asked)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def now(self) -> bool:
        """Whether to stop."""
        return self.number is not None

    def _asked(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._first = number, now
            sys.stderr.write("\nstopping after this step; once more to end at once\n")
        elif now - self._first >= _SAME_PRESS:
            raise Interruption(number)
