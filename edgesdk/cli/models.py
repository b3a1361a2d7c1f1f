"""``edgesdk models``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgesdk.cli.console import Output
from edgesdk.cli.options import DebugOption, JsonOption, QuietOption

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.models.zoo_entry import ZooEntry

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
                    "weights": entry.labels or entry.weights or None,
                    "styles": list(entry.styles),
                    "summary": entry.summary,
                    "source": entry.source,
                }
                for entry in entries
            ]
        }
    )
    if not json:
        out.table(_table(entries))


def _table(entries: Sequence[ZooEntry]) -> Table:
    from rich.text import Text

    from edgesdk.cli.tables import plain_table

    table = plain_table("name", "inputs", "what it is")
    for column in table.columns[:2]:
        column.no_wrap = True
    for task in sorted({entry.task for entry in entries}):
        table.add_row(Text(task, style="italic"))
        for entry in entries:
            if entry.task == task:
                inputs = "\n".join(str(spec).removesuffix(":float32") for spec in entry.inputs)
                styles = f"\nstyles: {', '.join(entry.styles)}" if entry.styles else ""
                told = Text.assemble(entry.summary, (styles, "dim"))
                table.add_row(Text(f"  {entry.name}"), Text(inputs), told)
    return table
