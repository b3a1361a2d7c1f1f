"""``edgesdk models``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgesdk.cli.console import Output
from edgesdk.cli.verb import verb

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from edgesdk.models.zoo_entry import ZooEntry

__all__ = ["models"]


@verb({"List the networks": "edgesdk models", "List them for a script": "edgesdk models --json"})
def models(out: Output) -> None:
    """List the networks of the zoo."""
    from edgesdk import models as zoo

    entries = [zoo.entry(name) for name in zoo.names()]
    out.result(
        {
            "models": [
                {
                    "name": entry.name,
                    "task": entry.task,
                    "inputs": [str(spec) for spec in entry.inputs],
                    "trained": entry.trained,
                    "weights": entry.labels or entry.weights or None,
                    "styles": list(entry.styles),
                    "summary": entry.summary,
                    "source": entry.source,
                }
                for entry in entries
            ]
        }
    )
    if not out.json:
        out.table(_table(entries))


def _table(entries: Sequence[ZooEntry]) -> Table:
    from rich.text import Text

    from edgesdk.cli.tables import plain_table

    table = plain_table("name", "inputs", "weights", "description")
    for column in table.columns[:3]:
        column.no_wrap = True
    for task in sorted({entry.task for entry in entries}):
        table.add_row(Text(task, style="italic"))
        for entry in entries:
            if entry.task == task:
                inputs = "\n".join(str(spec).removesuffix(":float32") for spec in entry.inputs)
                styles = f"\nstyles: {', '.join(entry.styles)}" if entry.styles else ""
                description = Text.assemble(entry.summary, (styles, "dim"))
                table.add_row(Text(f"  {entry.name}"), Text(inputs), _weights(entry), description)
    return table


def _weights(entry: ZooEntry) -> Text:
    from rich.text import Text

    if not entry.trained:
        return Text("random", "dim")
    return Text("ImageNet" if entry.labels.startswith("imagenet") else "trained", "green")
