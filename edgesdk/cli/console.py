"""Output of every verb: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json as json_text
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgesdk.errors import EdgeSdkError
from edgesdk.host.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["Output", "print_error", "print_json"]

# Columns of a file: more than any table has.
_UNLIMITED = 10_000


class Output:
    """Streams of one verb.

    Args:
        json: True to print one JSON object to stdout in place of text.
        quiet: True to print neither progress nor remarks.
        debug: True to add tracebacks and logs to errors.
        muted: True to print errors alone: another process of the same run prints the result.
    """

    def __init__(
        self, *, json: bool = False, quiet: bool = False, debug: bool = False, muted: bool = False
    ) -> None:
        self.json = json and not muted
        self.quiet = quiet or muted
        self.debug = debug
        self.muted = muted
        self.problem: EdgeSdkError | None = None

    def result(self, value: Mapping[str, Any], problem: EdgeSdkError | None = None) -> None:
        """Print the result in ``--json`` mode and keep the problem.

        Args:
            value: The result.
            problem: Error that the command ends with although it has a result. Its keys are
                added to the same object; :func:`~edgesdk.cli.verb.verb` prints it at the end.
        """
        self.problem = problem
        if self.json:
            print_json({**value, **(problem.to_dict() if problem is not None else {})})

    def table(self, table: Any) -> None:
        """Print a rich table in text mode.

        A file or pipe gets each row whole. On a terminal cells continue on the next line, between
        words; where not even the longest words fit side by side, each row becomes a list.
        """
        if self.json or self.muted:
            return
        from rich.console import Console

        terminal = Console(highlight=False)
        if not terminal.is_terminal:
            wide = Console(highlight=False, width=_UNLIMITED)
            with wide.capture() as capture:
                wide.print(table, soft_wrap=True)
            lines = capture.get().splitlines()
            sys.stdout.writelines(f"{line.rstrip()}\n" for line in lines)
        elif _fit(table, terminal):
            terminal.print(table)
        else:
            for row in zip(*(column.cells for column in table.columns), strict=True):
                terminal.print(*_listed(table, row), sep="\n", soft_wrap=True)

    def line(self, text: str = "") -> None:
        """Print a line of the result in text mode."""
        if not self.json and not self.muted:
            sys.stdout.write(text + "\n")

    def remark(self, text: str) -> None:
        """Print a line beside the result to stderr."""
        if not self.quiet:
            sys.stderr.write(text + "\n")

    def progress(self, title: str) -> Progress:
        """Make the progress display of the work called ``title``."""
        return Progress(title, quiet=self.quiet)


def _fit(table: Table, console: Console) -> bool:
    """Set the widths of a table's columns so that no word is cut; False if that is impossible."""
    from rich.cells import cell_len
    from rich.measure import Measurement

    texts = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    lines = [[line for text in column for line in text.splitlines()] for column in texts]
    natural = [max(map(cell_len, column), default=0) for column in lines]
    unlimited = console.options.update(width=_UNLIMITED)
    between = Measurement.get(console, unlimited, table).maximum - sum(natural)
    room = console.width - between
    if sum(natural) <= room:
        return True
    words = [max((cell_len(word) for line in c for word in line.split()), default=0) for c in lines]
    # The first column has names to copy.
    least = [natural[0], *words[1:]]
    if sum(least) > room:
        return False
    widths = list(least)
    # Narrow columns first: they get what they need, and the wide ones share the rest.
    order = sorted(range(len(widths)), key=lambda index: natural[index])
    for position, index in enumerate(order):
        others = order[position + 1 :]
        free = room - sum(widths) + widths[index]
        fair = (free + sum(widths[one] for one in others)) // (len(others) + 1)
        widths[index] = max(least[index], min(natural[index], free, fair))
    for column, width in zip(table.columns, widths, strict=True):
        column.width, column.no_wrap = width, False
    return True


def _listed(table: Table, row: Sequence[Any]) -> list[Any]:
    """Return a row as lines: its first cell, then each other one behind its title."""
    from rich.text import Text

    titles = [str(column.header) for column in table.columns]
    longest = max(map(len, titles[1:]), default=0)
    lines = [row[0]]
    for title, cell in zip(titles[1:], row[1:], strict=True):
        if str(cell).strip():
            whole = cell if isinstance(cell, Text) else Text(str(cell))
            in_one_line = Text(", ").join(whole.split("\n"))
            lines.append(Text.assemble(f"  {title:{longest}}  ", in_one_line))
    return lines


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object to stdout."""
    # Other encodings get escapes, which are JSON too.
    readable = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    sys.stdout.write(json_text.dumps(value, indent=1, ensure_ascii=not readable) + "\n")
    sys.stdout.flush()


def print_error(error: EdgeSdkError, *, json: bool, debug: bool) -> None:
    """Print an error with its place and remedy: to stderr, with ``json`` to stdout as well."""
    if debug:
        traceback.print_exception(error)
    if json:
        print_json(error.to_dict())
    shown = error.on_command_line()
    sys.stderr.write(f"error: {shown}\n")
