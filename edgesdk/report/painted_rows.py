"""Fidelity of an artefact's paintings as text, for the page and the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from edgesdk.bundle.manifest import ArtefactRecord, PaintedRecord
from edgesdk.report.labels import evaluated_label
from edgesdk.report.quantities import MISSING, decibel_text, error_text, plain_number

__all__ = ["PaintedRow", "change_text", "painted_row", "psnr_text"]


@dataclass(frozen=True)
class PaintedRow:
    """Fidelity of one artefact's paintings.

    Attributes:
        label: Label of the artefact.
        mark: Mark of an evaluator's figures; empty for a runtime's.
        pictures: Number of painted pictures.
        mean: PSNR over all pictures, as text.
        least: Lowest PSNR of a picture, as text.
        change: Style change as text.
        failure: Reason why nothing was painted, or empty.
    """

    label: str
    mark: str
    pictures: int
    mean: str
    least: str
    change: str
    failure: str = ""


def painted_row(artefact: ArtefactRecord, label: str) -> PaintedRow:
    """Return the fidelity of one artefact's paintings as text.

    Args:
        artefact: Artefact of a stylizer.
        label: Label of the artefact.
    """
    record = artefact.painted or PaintedRecord()
    mark = evaluated_label(artefact.target) if record.evaluator else ""
    if record.failure is not None or not record.pictures:
        failure = record.failure or "nothing was painted"
        return PaintedRow(label, mark, 0, MISSING, MISSING, MISSING, failure)
    return PaintedRow(
        label,
        mark,
        len(record.pictures),
        psnr_text(record.psnr_db),
        psnr_text(record.least_psnr_db),
        change_text(record.style_change),
    )


def psnr_text(value: float | None) -> str:
    """Write the PSNR of a painting: ``38.2 dB``, or ``equal`` without a difference."""
    return "equal" if value is None else decibel_text(value)


def change_text(value: float | None) -> str:
    """Write a style change: 0 is the original's painting, 1 the unpainted photograph."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    if 0 < value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if abs(plain_number(value)) < 1000 else error_text(value)
