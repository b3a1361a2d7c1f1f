"""What every verb prints, and where: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json as json_text
import sys
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from edgesdk.errors import EdgeSdkError

__all__ = ["Output", "ProgressLines", "print_error", "print_json"]


class Output:
    """Where a verb's words go.

    Args:
        json: Print one JSON object to stdout and nothing else there.
        quiet: No progress, no remarks.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet

    def result(self, value: Mapping[str, Any], problem: EdgeSdkError | None = None) -> None:
        """The verb's result, in ``--json`` mode only.

        Args:
            value: The result.
            problem: What stands in the way of exit code 0, added to the same object.
        """
        if self.json:
            print_json({**value, **(problem.to_dict() if problem is not None else {})})

    def table(self, table: Any) -> None:
        """A rich table or other renderable, for people only."""
        if not self.json:
            from rich.console import Console

            Console(highlight=False, soft_wrap=False).print(table)

    def line(self, text: str) -> None:
        """A line of the result, for people only."""
        if not self.json:
            sys.stdout.write(text + "\n")

    def remark(self, text: str) -> None:
        """A line beside the result, on stderr."""
        if not self.quiet:
            sys.stderr.write(text + "\n")

    def problem(self, error: EdgeSdkError) -> None:
        """What stands in the way of exit code 0, on stderr, in quiet mode too."""
        sys.stderr.write(f"error: {error}\n")

    def progress(self, title: str) -> ProgressLines:
        """Progress of named pieces of work: live on a terminal, plain lines elsewhere."""
        return ProgressLines(title, silent=self.quiet)


#: Seconds between two plain lines of a count.
_LINE_EVERY = 5.0

#: Steps after which a piece of work is done, by how it ended.
_LAST_STEPS = {
    "ready": "green",
    "written": "green",
    "measured": "green",
    "converted": "green",
    "equal": "green",
    "runs on the phone only": "yellow",
    "no runtime": "yellow",
    "not equal": "red",
    "does not run": "red",
    "failed": "red",
}
#: Nothing to say on a line of its own, where no live display shows what is still to come.
_LIVE_ONLY = ("waiting",)


class ProgressLines:
    """Progress of several pieces of work at once, each at a step of its own.

    Args:
        title: What is being done.
        silent: Print nothing.
    """

    def __init__(self, title: str, *, silent: bool = False) -> None:
        self._title = title
        self._silent = silent
        self._started = time.monotonic()
        self._tasks: dict[str, Any] = {}
        self._live: Any = None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if not self._silent and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._live = Progress(
                SpinnerColumn(finished_text=" "),
                # Names come from files of other people: no markup in them.
                TextColumn("{task.fields[piece]}", style="bold", markup=False),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                # This very stream, whatever stands in for it while torch is kept quiet.
                console=Console(file=sys.stderr),
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def step(self, piece: str, step: str) -> None:
        """A piece of work has reached a step."""
        if self._silent:
            return
        if self._live is None:
            if step in _LIVE_ONLY:
                return
            seconds = time.monotonic() - self._started
            sys.stderr.write(f"{seconds:6.1f} s  {piece}: {step}\n")
            sys.stderr.flush()
            return
        if piece not in self._tasks:
            self._tasks[piece] = self._live.add_task(step, total=None, piece=piece)
        task = self._tasks[piece]
        if step in _LAST_STEPS:
            self._live.update(task, description=step, total=1, completed=1)
        elif step in _LIVE_ONLY:
            self._live.reset(task, start=False, description=step)
        else:
            self._live.update(task, description=step)
            self._live.start_task(task)

    def count(self, done: int, total: int, doing: str) -> None:
        """So many of so many steps are done."""
        if self._silent:
            return
        if self._live is not None:
            self.step(self._title, f"{done}/{total}  {doing}")
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_EVERY or done == total:
            self._last_line = now
            self.step(self._title, f"{done}/{total}  {doing}")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    # A terminal of another encoding gets escapes, which are JSON too.
    readable = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    sys.stdout.write(json_text.dumps(value, indent=1, ensure_ascii=not readable) + "\n")
    sys.stdout.flush()


def print_error(error: EdgeSdkError, *, json: bool, debug: bool) -> None:
    """Say what was wrong, where, and what to do next."""
    if debug:
        traceback.print_exception(error)
    if json:
        print_json(error.to_dict())
    sys.stderr.write(f"error: {error}\n")
