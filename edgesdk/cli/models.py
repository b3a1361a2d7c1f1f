"""``edgesdk models``."""

from __future__ import annotations

from edgesdk.cli.console import Output
from edgesdk.cli.options import DebugOption, JsonOption, QuietOption

__all__ = ["models"]


def models(
    json: JsonOption = False, quiet: QuietOption = False, debug: DebugOption = False
) -> None:
    """List the networks of the zoo."""
    del debug
    from edgesdk import models as zoo

    out = Output(json=json, quiet=quiet)
    entries = [zoo.entry(name) for name in zoo.names()]
    out.result(
        {
            "models": [
                {
                    "name": entry.name,
                    "task": entry.task,
                    "inputs": [str(spec) for spec in entry.inputs],
                    "weights": entry.labels or None,
                    "summary": entry.summary,
                    "source": entry.source,
                }
                for entry in entries
            ]
        }
    )
    if not json:
        from rich.table import Table

        table = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("name", "task", "inputs", "what it is"):
            table.add_column(title)
        for entry in entries:
            inputs = ", ".join(str(spec) for spec in entry.inputs)
            table.add_row(entry.name, entry.task, inputs, entry.summary)
        out.table(table)
