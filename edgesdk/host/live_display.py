"""The rich display behind :class:`edgesdk.host.progress.Progress` on a terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

__all__ = ["make_display"]

_BAR_WIDTH = 12


class _Bar(BarColumn):
    """A bar for pieces that count; nothing for pieces that pass through steps."""

    def render(self, task: Task) -> RenderableType:  # type: ignore[override]
        return super().render(task) if task.fields["counted"] else ""


class _Status(ProgressColumn):
    """The step or figures of a piece, cut off where the terminal ends."""

    def get_table_column(self) -> Column:
        # Unlike the other columns this one may shrink.
        return Column()

    def render(self, task: Task) -> Text:
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class _Clock(TimeElapsedColumn):
    """The time left of pieces that count, else the time elapsed."""

    def render(self, task: Task) -> Text:
        if not task.fields["counted"]:
            return super().render(task)
        return Text(task.fields["remaining"], style="progress.remaining")


def make_display(stream: TextIO) -> Progress:
    """Make the display; each task has the fields ``piece``, ``counted`` and ``remaining``.

    Args:
        stream: The terminal. It stays the target while ``sys.stderr`` is replaced.
    """
    return Progress(
        SpinnerColumn(finished_text=" "),
        # Names may come from files of strangers: markup in them is not interpreted.
        TextColumn("{task.fields[piece]}", style="bold", markup=False),
        _Bar(bar_width=_BAR_WIDTH),
        _Status(),
        _Clock(),
        console=Console(file=stream),
        # Prints appear above the display, unless they go to a file.
        redirect_stdout=sys.stdout.isatty(),
    )
