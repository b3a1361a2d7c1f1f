"""Progress of long work: live on a terminal and in a notebook, else plain lines or a log."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

from edgesdk.errors import UsageError

if TYPE_CHECKING:
    from edgesdk.devices.base import Step
    from edgesdk.pruning.acp import AcpProgress
    from edgesdk.training.history import Progress as TrainingProgress
    from edgesdk.training.style.history import StyleProgress
    from edgesdk.video.stylize_result import StylizeProgress

__all__ = ["AUTO", "Auto", "Progress", "clock", "progress_shown"]

#: Default of ``on_progress``: a live display for a person, the logger ``edgesdk`` for a script.
Auto = Literal["auto"]
AUTO: Auto = "auto"

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: Seconds between two plain lines of one count.
_LINE_EVERY = 5.0

#: Steps after which a piece of work is finished.
_LAST_STEPS = {
    *("converted", "equal", "measured", "ready", "written"),
    *("runs on the phone only", "no runtime", "not equal", "does not run", "failed"),
}
#: Steps shown by the live display alone: a line of their own would say nothing.
_LIVE_ONLY = ("waiting",)


def _in_notebook() -> bool:
    # A kernel imports IPython before it runs the first cell.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _can_draw() -> bool:
    """Return True on a terminal, and in a notebook with the widgets that a live display needs."""
    return sys.stderr.isatty() or (
        _in_notebook() and importlib.util.find_spec("ipywidgets") is not None
    )


def clock(seconds: float) -> str:
    """Format seconds as ``4:07`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Show the progress of named pieces of work on stderr.

    A piece either passes through steps (:meth:`step`) or counts (:meth:`count`). Inside the
    ``with`` block stdout is redirected to stderr, so that prints of the user's own code do not
    mix with the result.

    Args:
        title: Name of the piece of work that callbacks without a name report on.
        quiet: True to print nothing.
        logger: Logger that gets the plain lines at level INFO; None to print them to stderr.
        redirect: True to redirect stdout to stderr meanwhile.
    """

    def __init__(
        self,
        title: str,
        *,
        quiet: bool = False,
        logger: logging.Logger | None = None,
        redirect: bool = True,
    ) -> None:
        self._title = title
        self._quiet = quiet
        self._logger = logger
        self._redirect = redirect
        self._started = self._last_line = time.monotonic()
        self._tasks: dict[str, Any] = {}
        self._live: Any = None
        self._stack = contextlib.ExitStack()

    @classmethod
    def automatic(cls, title: str) -> Progress:
        """Make the display of a Python caller: for a person if there is one, else a log.

        Prints of the caller's own code stay on stdout.
        """
        watched = sys.stderr.isatty() or _in_notebook()
        return cls(title, logger=None if watched else logging.getLogger("edgesdk"), redirect=False)

    def __enter__(self) -> Self:
        if self._redirect:
            self._stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if not self._quiet and self._logger is None and _can_draw():
            from edgesdk.host.live_display import make_display

            self._live = self._stack.enter_context(make_display(sys.stderr))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def note(self, text: str) -> None:
        """Print a line that stays, above the live display if there is one."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        elif self._logger is not None:
            self._logger.info("%s", text)
        else:
            sys.stderr.write(f"{time.monotonic() - self._started:6.1f} s  {text}\n")
            sys.stderr.flush()

    def step(self, piece: str, step: str) -> None:
        """Show that ``piece`` has begun ``step``."""
        if self._quiet:
            return
        if self._live is None:
            if step not in _LIVE_ONLY:
                self.note(f"{piece}: {step}")
            return
        task = self._task(piece)
        if step in _LIVE_ONLY:
            self._live.reset(task, start=False, description=step)
            return
        self._live.start_task(task)
        ended = {"total": 1, "completed": 1} if step in _LAST_STEPS else {}
        self._live.update(task, description=step, **ended)

    def begin(self, step: str) -> None:
        """Show that the work named by the title has begun ``step``."""
        self.step(self._title, step)

    def count(
        self,
        piece: str,
        done: int,
        total: int | None,
        text: str = "",
        *,
        left: float | None = None,
        line: str | None = None,
    ) -> None:
        """Show that ``piece`` has done ``done`` of ``total``.

        Without a terminal a line is printed every five seconds and at the end.

        Args:
            piece: Name of the piece of work.
            done: Number of units done.
            total: Number of units; None if unknown. A total below ``done`` counts as unknown:
                containers of videos may be wrong about their length.
            text: Further figures.
            left: Estimate of the remaining seconds.
            line: Line to print in any case, in place of the plain line.
        """
        if self._quiet:
            return
        if line is not None:
            self._last_line = time.monotonic()
            self.note(line)
        known = total is not None and done <= total
        counted = f"{done}/{total}" if known else f"{done}"
        remaining = f"{clock(left)} left" if left is not None and known else ""
        if self._live is not None:
            self._live.update(
                self._task(piece),
                total=total if known else None,
                completed=done,
                description="  ".join(filter(None, (counted, text))),
                counted=True,
                remaining=remaining,
            )
            return
        now = time.monotonic()
        if line is None and (now - self._last_line >= _LINE_EVERY or done == total):
            self._last_line = now
            self.note(f"{piece}: " + "  ".join(filter(None, (counted, text, remaining))))

    def _task(self, piece: str) -> Any:
        if piece not in self._tasks:
            self._tasks[piece] = self._live.add_task(
                "", total=None, piece=piece, counted=False, remaining=""
            )
        return self._tasks[piece]

    # Callbacks for the long functions of the package, each given as its ``on_progress``.

    def measurement(self, step: Step) -> None:
        """Report a step of measurements on a device."""
        self.count(self._title, step.done, step.total, step.doing)

    def training(self, progress: TrainingProgress) -> None:
        """Report a step of training a classifier."""
        line, record = None, progress.record
        if record is not None:
            held = record.validation_top1
            line = (
                f"epoch {record.epoch}/{progress.epochs}  loss {record.loss:.4f}  "
                f"top-1 {record.top1:.2%}"
                + (f"  val top-1 {held:.2%}" if held is not None else "")
                + f"  {record.images_per_second:,.0f} images/s  "
                f"{clock(progress.seconds_left)} left"
            )
        self.count(
            self._title,
            progress.step,
            progress.steps,
            f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}  "
            f"top-1 {progress.top1:.1%}  {progress.images_per_second:,.0f} images/s",
            left=progress.seconds_left,
            line=line,
        )

    def style_training(self, progress: StyleProgress) -> None:
        """Report a step of training a stylizer."""
        record = progress.record
        parts = "  ".join(f"{name} {value:.4f}" for name, value in record.losses.items() if value)
        if progress.preview is not None:
            self.note(f"step {progress.step}: wrote preview {progress.preview}")
        self.count(
            self._title,
            progress.step,
            progress.steps,
            f"{parts}  {record.pictures_per_second:.1f} pictures/s",
            left=progress.seconds_left,
        )

    def search(self, progress: AcpProgress) -> None:
        """Report a cycle of the search for channel widths."""
        self.note(
            f"cycle {progress.cycle}/{progress.cycles}  {progress.tried} candidates  "
            f"best {progress.best:.2%}"
        )

    def stylizing(self, progress: StylizeProgress) -> None:
        """Report a frame of a stylized video."""
        self.count(
            progress.doing,
            progress.done,
            progress.total,
            f"{progress.frames_per_second:.1f} frames/s",
            left=progress.seconds_left,
        )


def progress_shown(
    title: str, callback: Callable[[Progress], Any], argument: str = "on_progress"
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let a function take ``on_progress="auto"``: it gets a display's callback in its place.

    Any other value is handed on::

        @progress_shown("measuring", lambda display: display.measurement)
        def profile(bundle: Bundle, *, on_progress: ProgressCallback | Auto | None = AUTO): ...

    Args:
        title: Name of the work on the display.
        callback: Returns the method of the display that fits the work.
        argument: Name of the argument, which callers give by keyword.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            given = kwargs.get(argument, AUTO)
            if not isinstance(given, str):
                return function(*args, **kwargs)
            if given != AUTO:
                raise UsageError(
                    f"invalid {argument}: {given!r}",
                    remedy=f"give a function, {AUTO!r}, or None for silence",
                )
            with Progress.automatic(title) as display:
                kwargs[argument] = callback(display)
                return function(*args, **kwargs)

        return run

    return decorate
