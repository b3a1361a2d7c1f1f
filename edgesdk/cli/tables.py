"""What people read in the terminal, from the same rows as the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from edgesdk.report.summary import COLUMNS, SummaryRow

if TYPE_CHECKING:
    from edgesdk.bisection import Deviation
    from edgesdk.manifest import Manifest

__all__ = ["classes_table", "deviation_lines", "targets_table"]

_TONES = {"good": "green", "bad": "red", "open": "yellow"}

# A terminal is narrow: these have no place beside the others, the report shows them all.
_LEFT_OUT = frozenset({"precision", "p90", "load", "SNR", "relative"})


def targets_table(rows: Sequence[SummaryRow]) -> Table:
    """The table of targets; columns that say nothing are left out."""
    cells = [row.cells() for row in rows]
    table = Table(header_style="bold", box=None, pad_edge=False)
    shown = [
        index
        for index, title in enumerate(COLUMNS)
        if title not in _LEFT_OUT and any(cell[index] != "–" for cell in cells)
    ]
    for index in shown:
        table.add_column(COLUMNS[index], overflow="fold")
    for row, cell in zip(rows, cells, strict=True):
        table.add_row(
            *(
                Text(cell[index], style=_TONES[row.status.tone] if index == 1 else "")
                for index in shown
            )
        )
    return table


def classes_table(manifest: Manifest) -> Table | None:
    """The class each runtime saw on each photograph; None where the model does not classify."""
    seen = {
        record.target: {name: (eager, artefact) for name, eager, artefact in record.parity.classes}
        for record in manifest.artefacts
        if record.parity is not None and record.parity.classes
    }
    if not seen:
        return None
    table = Table(header_style="bold", box=None, pad_edge=False)
    for title in ("photograph", "model", *seen):
        table.add_column(title, overflow="fold")
    names = list(dict.fromkeys(name for classes in seen.values() for name in classes))
    for name in names:
        eager = next(classes[name][0] for classes in seen.values() if name in classes)
        answers = [
            Text(classes[name][1], style="" if classes[name][1] == eager else "red")
            if name in classes
            else Text("–")
            for classes in seen.values()
        ]
        table.add_row(Text(name), Text(eager), *answers)
    return table


def deviation_lines(deviations: Sequence[Deviation]) -> list[str]:
    """One paragraph an artefact: what the search found."""
    lines = []
    for deviation in deviations:
        lines.append(f"{deviation.target}: {deviation.explanation}")
        if deviation.where or deviation.module:
            inside = f" in module {deviation.module}" if deviation.module else ""
            lines.append(f"  at {deviation.where or 'an unknown line'}{inside}")
        if deviation.cosine is not None and deviation.max_abs is not None:
            lines.append(f"  cosine {deviation.cosine:.6f}, max abs {deviation.max_abs:.3g}")
    return lines
