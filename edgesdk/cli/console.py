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

__all__ = ["Output", "ProgressLines", "print_error"]


class Output:
    """Where a verb's words go.

    Args:
        json: Print one JSON object to stdout and nothing else there.
        quiet: No progress, no remarks.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet

    def result(self, value: Mapping[str, Any]) -> None:
        """The verb's result, in ``--json`` mode only."""
        if self.json:
            sys.stdout.write(json_text.dumps(value, indent=1, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def table(self, table: Any) -> None:
        """A rich table or other renderable, for people only."""
        if not self.json:
            from rich.console import Console

            Console(highlight=False).print(table)

    def line(self, text: str) -> None:
        """A line of the result, for people only."""
        if not self.json:
            sys.stdout.write(text + "\n")

    def remark(self, text: str) -> None:
        """A line beside the result, on stderr."""
        if not self.quiet:
            sys.stderr.write(text + "\n")

    def progress(self, title: str) -> ProgressLines:
        """Progress of named pieces of work: live on a terminal, plain lines elsewhere."""
        return ProgressLines(title, silent=self.quiet)


#: Seconds between two plain lines of a count.
_LINE_EVERY = 5.0

#: Steps after which a piece of work is done.
_LAST_STEPS = ("equal", "not equal", "differs", "failed", "written", "measured", "skipped")


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
                TextColumn("{task.fields[piece]}", style="bold"),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
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
            seconds = time.monotonic() - self._started
            sys.stderr.write(f"{seconds:6.1f} s  {piece}: {step}\n")
            sys.stderr.flush()
            return
        if piece not in self._tasks:
            self._tasks[piece] = self._live.add_task(step, total=None, piece=piece)
        task = self._tasks[piece]
        self._live.update(task, description=step)
        if step in _LAST_STEPS:
            self._live.update(task, total=1, completed=1)

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


def print_error(error: EdgeSdkError, *, json: bool, debug: bool) -> None:
    """Say what was wrong, where, and what to do next."""
    if debug:
        traceback.print_exception(error)
    if json:
        sys.stdout.write(json_text.dumps(error.to_dict(), indent=1, ensure_ascii=False) + "\n")
    sys.stderr.write(f"error: {error}\n")
