"""Tables for the terminal and facts for ``--json``, from the same rows as the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from edgesdk.bundle.manifest import artefact_names
from edgesdk.report.labels import float_loss
from edgesdk.report.summary import COLUMNS, SummaryRow, summary_rows, warnings_of

if TYPE_CHECKING:
    from edgesdk.bundle.bundle import Bundle
    from edgesdk.bundle.manifest import Manifest
    from edgesdk.verification.bisection.bisect import Deviation

__all__ = [
    "PARITY_COLUMNS",
    "PROFILE_COLUMNS",
    "artefact_facts",
    "bundle_facts",
    "classes_table",
    "deviation_lines",
    "drops_table",
    "footnotes",
    "painted_table",
    "painting_notes",
    "plain_table",
    "targets_table",
    "worst_layers_table",
]

_TONES = {"good": "green", "bad": "red", "open": "yellow"}

# A terminal is narrow: the report shows all columns side by side.
PARITY_COLUMNS = (
    "target",
    "status",
    "size",
    "cosine",
    "max abs",
    "top-1",
    "against float",
    "delegated",
)
PROFILE_COLUMNS = ("target", "status", "size", "p50", "p90", "load", "peak memory", "against float")
_EVALUATED = "*"
#: Width of the longest part of a loss: ``agreement 98.4 %``.
_LOSS_WIDTH = 16


def artefact_facts(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the facts of each artefact that ``--json`` adds to its records, in order."""
    facts = []
    for artefact, row in zip(manifest.artefacts, summary_rows(manifest), strict=False):
        loss = float_loss(artefact)
        facts.append(
            {
                "name": row.label,
                "target": artefact.target,
                "quantization": artefact.quantization,
                "status": row.status.value,
                "against_float": loss and loss.model_dump(mode="json", exclude={"culprits"}),
            }
        )
    return facts


def bundle_facts(bundle: Bundle) -> dict[str, Any]:
    """Return the facts of a bundle for ``--json``: its manifest, names, losses and warnings."""
    manifest = bundle.manifest
    plain = manifest.model_dump(mode="json")
    for artefact, facts in zip(plain["artefacts"], artefact_facts(manifest), strict=True):
        artefact.update(facts)
    return {"bundle": str(bundle.path), **plain, "warnings": warnings_of(manifest)}


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
    cells = [_cells(row) for row in rows]
    shown = [
        index
        for index, title in enumerate(COLUMNS)
        if title in columns and any(cell[index] != "–" for cell in cells)
    ]
    table = plain_table(*(COLUMNS[index] for index in shown))
    # Names to copy into commands stay in one piece, and so do numbers.
    for index, column in enumerate(table.columns):
        column.no_wrap = index != 1
        if column.header == "against float":
            column.no_wrap, column.min_width = False, _LOSS_WIDTH
    if rows:
        # Otherwise a long name beside it leaves a column of single letters.
        table.columns[1].min_width = max(len(row.status.value.split()[0]) for row in rows) + 2
    for row, cell in zip(rows, cells, strict=True):
        tones = [_TONES[row.status.tone] if index == 1 else "" for index in shown]
        table.add_row(*map(Text, (cell[index] for index in shown), tones))
    return table


def _cells(row: SummaryRow) -> list[str]:
    cells = list(row.cells())
    mark = f" {_EVALUATED}" if row.parity_mark else ""
    cells[1] = f"{row.status.icon} {row.status.value}{mark}"
    timed = [COLUMNS.index(title) for title in ("p50", "peak memory")]
    for index in timed:
        cells[index] = cells[index].replace(" (evaluated)", f" {_EVALUATED}")
    delegated = COLUMNS.index("delegated")
    cells[delegated] = cells[delegated].removesuffix(" partitions").removesuffix(" partition")
    return cells


def footnotes(rows: Sequence[SummaryRow]) -> list[str]:
    """Explain the asterisks and the figures of quantized artefacts of :func:`targets_table`."""
    marks = {mark for row in rows for mark in (row.parity_mark, row.profile_mark) if mark}
    notes = [f"{_EVALUATED} {mark}" for mark in sorted(marks)]
    if any(row.recipe and row.cosine is not None for row in rows):
        notes.append(
            "quantized: cosine, max abs and top-1 compare with the simulation; "
            "against float: with the model"
        )
    return notes


def classes_table(manifest: Manifest) -> Table | None:
    """Build the table of the top-1 classes of the model and each artefact for each photograph.

    None where the model does not classify. Quantized artefacts, which may be many, are left out
    where there are others.
    """
    named = list(zip(artefact_names(manifest.artefacts), manifest.artefacts, strict=True))
    predicted = {
        label: {name: (eager, artefact) for name, eager, artefact in record.parity.classes}
        for label, record in [pair for pair in named if pair[1].quantized is None] or named
        if record.parity is not None and record.parity.classes
    }
    if not predicted:
        return None
    every = [pair for classes in predicted.values() for pair in classes.items()]
    if len(predicted) > 1 and all(eager == artefact for _, (eager, artefact) in every):
        # Copies of what the model sees would fill the terminal and say nothing more.
        table = plain_table("photograph", "the model sees", "the artefacts see")
        for name, eager in {name: eager for name, (eager, _) in every}.items():
            table.add_row(Text(name), Text(eager), Text("the same"))
        return table
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


def painted_table(manifest: Manifest) -> Table | None:
    """Make the table of PSNR and change of style by artefact; None without paintings.

    An asterisk marks paintings of an evaluator, as in the table of targets.
    """
    from edgesdk.report.painted_rows import painted_row
    from edgesdk.report.quantities import MISSING

    names = artefact_names(manifest.artefacts)
    rows = [
        (name, painted_row(record, name))
        for name, record in zip(names, manifest.artefacts, strict=True)
        if record.painted is not None
    ]
    if all(row.failure for _, row in rows):
        # The notes or the table of targets have the reason.
        return None
    measured = any(row.change != MISSING for _, row in rows)
    titles = ["painted", "pictures", "PSNR mean", "PSNR least"]
    table = plain_table(*titles, *(["style change"] if measured else []))
    for name, row in rows:
        mark = " *" if row.mark else ""
        cells = [f"{row.pictures}{mark}", row.mean, row.least, *([row.change] if measured else [])]
        table.add_row(Text(name), *(Text(cell) for cell in cells))
    return table


def painting_notes(manifest: Manifest) -> list[str]:
    """List artefacts that run but were not painted or not measured, with the reasons."""
    notes = [manifest.paintings.note] if manifest.paintings and manifest.paintings.note else []
    names = artefact_names(manifest.artefacts)
    return notes + [
        f"{name}: paints nothing: {record.painted.failure}"
        for name, record in zip(names, manifest.artefacts, strict=True)
        if record.painted is not None
        and record.painted.failure is not None
        and (record.parity is None or record.parity.failure is None)
    ]


def drops_table(manifest: Manifest) -> Table | None:
    """Return the accuracy drop of each quantized artefact; None if none was measured."""
    names = artefact_names(manifest.artefacts)
    found = [
        (name, record.quantized)
        for name, record in zip(names, manifest.artefacts, strict=True)
        if record.quantized is not None
    ]
    if not any(record.drop for _, record in found):
        return None
    table = plain_table(
        "quantized", "weights ≤ 8 bits", "top-1", "agreement", "in top 5", "cosine", "drop", "gate"
    )
    for label, record in found:
        total = sum(record.weights.values())
        small = sum(count for bits, count in record.weights.items() if bits <= 8)
        share = f"{small / total:.1%}" if total else "–"
        drop = record.drop
        if drop is None:
            table.add_row(Text(label), share, "–", "–", "–", "–", "not measured", "–")
            continue
        gate = "–" if drop.bound is None else f"{'met' if drop.passed else 'missed'}"
        table.add_row(
            Text(label),
            share,
            _percent(drop.top1),
            _percent(drop.agreement),
            _percent(drop.containment),
            "–" if drop.cosine is None else f"{drop.cosine:.4f}",
            f"{drop.drop:.2%} of {drop.metric}",
            Text(gate, "green" if drop.passed else "red"),
        )
    return table


def worst_layers_table(manifest: Manifest, most: int = 8) -> Table | None:
    """Return the layers with the largest quantization error, of artefacts over their gate."""
    names = artefact_names(manifest.artefacts)
    rows = [
        (name, layer)
        for name, record in zip(names, manifest.artefacts, strict=True)
        if record.quantized is not None and record.quantized.drop is not None
        for layer in record.quantized.drop.culprits[:most]
    ]
    if not rows:
        return None
    titles = ("artefact", "layer", "weights", "SNR dB", "where")
    cells = [
        (
            name,
            layer.path,
            f"{layer.weights:,}",
            "–" if layer.snr_db is None else f"{layer.snr_db:.1f}",
            layer.where,
        )
        for name, layer in rows
    ]
    return plain_table(*titles, rows=cells)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
