"""Tables for the terminal, from the same rows as the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from edgesdk.report.summary import COLUMNS, SummaryRow

if TYPE_CHECKING:
    from edgesdk.bundle.manifest import Manifest
    from edgesdk.verification.bisection.bisect import Deviation

__all__ = [
    "PARITY_COLUMNS",
    "PROFILE_COLUMNS",
    "classes_table",
    "deviation_lines",
    "footnotes",
    "plain_table",
    "targets_table",
]

_TONES = {"good": "green", "bad": "red", "open": "yellow"}

# A terminal is narrow: the report shows all columns side by side.
PARITY_COLUMNS = ("target", "status", "size", "cosine", "max abs", "top-1", "delegated")
PROFILE_COLUMNS = ("target", "status", "size", "p50", "p90", "load", "peak memory")
_EVALUATED = "*"


def plain_table(*titles: str, rows: Iterable[Sequence[str | Text]] = ()) -> Table:
    """Make a table without rules; text that does not fit continues on the next line.

    Strings of ``rows`` are shown as they are, without markup.
    """
    table = Table(header_style="bold", box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def targets_table(rows: Sequence[SummaryRow], columns: Sequence[str] = PARITY_COLUMNS) -> Table:
    """Make the table of targets, without empty columns.

    An asterisk marks artefacts that only an evaluator has run; see :func:`footnotes`.

    Args:
        rows: One per target.
        columns: Some of :data:`edgesdk.report.summary.COLUMNS`, in that order.
    """
    cells = [_cells(row, rows) for row in rows]
    shown = [
        index
        for index, title in enumerate(COLUMNS)
        if title in columns and any(cell[index] != "–" for cell in cells)
    ]
    table = plain_table(*(COLUMNS[index] for index in shown))
    # Names to copy into commands stay in one piece, and so do numbers.
    for index, column in enumerate(table.columns):
        column.no_wrap = index != 1
    if rows:
        # Otherwise a long name beside it leaves a column of single letters.
        table.columns[1].min_width = max(len(row.status.value.split()[0]) for row in rows) + 2
    for row, cell in zip(rows, cells, strict=True):
        tones = [_TONES[row.status.tone] if index == 1 else "" for index in shown]
        table.add_row(*map(Text, (cell[index] for index in shown), tones))
    return table


def _cells(row: SummaryRow, rows: Sequence[SummaryRow]) -> list[str]:
    cells = list(row.cells())
    # The name as options take it, if it is unambiguous.
    if Counter(other.target for other in rows)[row.target] == 1:
        cells[0] = row.target
    elif row.recipe or Counter((other.target, other.recipe) for other in rows)[row.target, ""] == 1:
        cells[0] = f"{row.target} {row.recipe}".strip()
    mark = f" {_EVALUATED}" if row.parity_mark else ""
    cells[1] = f"{row.status.icon} {row.status.value}{mark}"
    timed = [COLUMNS.index(title) for title in ("p50", "peak memory")]
    for index in timed:
        cells[index] = cells[index].replace(" (evaluated)", f" {_EVALUATED}")
    delegated = COLUMNS.index("delegated")
    cells[delegated] = cells[delegated].removesuffix(" partitions").removesuffix(" partition")
    return cells


def footnotes(rows: Sequence[SummaryRow]) -> list[str]:
    """Explain the asterisks of :func:`targets_table`."""
    marks = {mark for row in rows for mark in (row.parity_mark, row.profile_mark) if mark}
    return [f"{_EVALUATED} {mark}" for mark in sorted(marks)]


def classes_table(manifest: Manifest) -> Table | None:
    """Build the table of the top-1 classes of the model and each artefact for each photograph.

    None where the model does not classify. Quantized artefacts, which may be many, are left out
    where there are others.
    """
    shown = [record for record in manifest.artefacts if record.quantized is None]
    predicted = {
        f"{record.target} {record.quantization or ''}".strip(): {
            name: (eager, artefact) for name, eager, artefact in record.parity.classes
        }
        for record in shown or manifest.artefacts
        if record.parity is not None and record.parity.classes
    }
    if not predicted:
        return None
    table = plain_table("photograph", "the model sees", *predicted)
    names = list(dict.fromkeys(name for classes in predicted.values() for name in classes))
    for name in names:
        pairs = [classes.get(name) for classes in predicted.values()]
        eager = next(pair[0] for pair in pairs if pair is not None)
        cells = [
            Text("–") if pair is None else Text(pair[1], "" if pair[1] == eager else "red")
            for pair in pairs
        ]
        table.add_row(Text(name), Text(eager), *cells)
    return table


def deviation_lines(deviations: Sequence[Deviation]) -> list[str]:
    """Return the lines of a bisection: one paragraph per artefact."""
    lines = []
    for deviation in deviations:
        lines.append(f"{deviation.target}: {deviation.explanation}")
        if deviation.where or deviation.module:
            inside = f" in module {deviation.module}" if deviation.module else ""
            lines.append(f"  at {deviation.where or 'an unknown line'}{inside}")
        if deviation.cosine is not None and deviation.max_abs is not None:
            lines.append(f"  cosine {deviation.cosine:.6f}, max abs {deviation.max_abs:.3g}")
    return lines
