"""Output of every verb: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json as json_text
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from edgesdk.errors import EdgeSdkError
from edgesdk.host.progress import Progress

__all__ = ["Output", "print_error", "print_json"]


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
        """Print a rich table in text mode."""
        if not self.json and not self.muted:
            from rich.console import Console

            Console(highlight=False, soft_wrap=False).print(table)

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
    sys.stderr.write(f"error: {error}\n")
