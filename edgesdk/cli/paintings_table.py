"""Table of the paintings of converted stylizers in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.bundle.manifest import Manifest

__all__ = ["painted_table", "painting_notes"]


def painted_table(manifest: Manifest) -> Table | None:
    """Make the table of PSNR and change of style by artefact; None without paintings.

    An asterisk marks paintings of an evaluator, as in the table of targets.
    """
    from rich.text import Text

    from edgesdk.cli.tables import plain_table
    from edgesdk.report.quantities import MISSING
    from edgesdk.report.styles import painted_row

    rows = [
        (f"{record.target} {record.quantization or ''}".strip(), painted_row(record, record.target))
        for record in manifest.artefacts
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
    return notes + [
        f"{record.target}: paints nothing: {record.painted.failure}"
        for record in manifest.artefacts
        if record.painted is not None
        and record.painted.failure is not None
        and (record.parity is None or record.parity.failure is None)
    ]
