"""A bundle in a few lines, for a prompt and for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from edgesdk.bundle.manifest import ArtefactRecord, Manifest, artefact_names
from edgesdk.spec import TensorSpec

__all__ = ["overview_html", "overview_text"]

#: Most artefacts of a text; with three lines above and two below it stays within 15 lines.
_MOST = 10
_HEADINGS = ("artefact", "status", "size", "cosine with the model", "max abs")


class _Row(NamedTuple):
    name: str
    status: str
    size: str
    cosine: str
    max_abs: str


def overview_text(folder: str, manifest: Manifest) -> str:
    """Describe a bundle in at most 15 lines of text.

    Args:
        folder: Name of its folder.
        manifest: Its manifest.
    """
    lines = [
        f"Bundle {_one_line(folder)}: {_one_line(manifest.name)}",
        f"  inputs   {_signature(manifest.inputs)}",
        f"  outputs  {_signature(manifest.outputs)}",
    ]
    rows = _rows(manifest)[:_MOST]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    for row in rows:
        figures = f"cosine {row.cosine}" if row.cosine else ""
        text = f"  {row.name:{widths[0]}}  {row.status:{widths[1]}}  {row.size:>9}  {figures}"
        lines.append(text.rstrip())
    more = len(manifest.artefacts) - len(rows)
    if more:
        lines.append(f"  and {more} more")
    if manifest.failures:
        names = ", ".join(failure.target for failure in manifest.failures)
        lines.append(f"  failed: {_shortened(names, 100)}")
    return "\n".join(lines)


def overview_html(folder: str, manifest: Manifest) -> str:
    """Describe a bundle as an HTML table; all texts are escaped.

    Args:
        folder: Name of its folder.
        manifest: Its manifest.
    """
    head = "".join(f"<th>{heading}</th>" for heading in _HEADINGS)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _rows(manifest)
    )
    body += "".join(
        f"<tr><td>{escape(failure.target)}</td>"
        f'<td colspan="{len(_HEADINGS) - 1}">failed: {escape(failure.message)}</td></tr>'
        for failure in manifest.failures
    )
    caption = (
        f"{escape(folder)}: {escape(manifest.name)}, "
        f"{escape(_signature(manifest.inputs))} to {escape(_signature(manifest.outputs))}"
    )
    return (
        f"<table><caption>{caption}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _rows(manifest: Manifest) -> list[_Row]:
    names = artefact_names(manifest.artefacts)
    return [_row(name, record) for name, record in zip(names, manifest.artefacts, strict=True)]


def _row(name: str, record: ArtefactRecord) -> _Row:
    status, size = _status(record), f"{record.file.size / 1e6:.1f} MB"
    if record.quantization is not None:
        # Parity compares it with its simulation; the loss is against the model.
        drop = record.quantized.drop if record.quantized is not None else None
        loss = drop or record.loss
        known = loss is not None and loss.cosine is not None
        return _Row(name, status, size, f"{loss.cosine:.6f}" if loss and known else "", "")
    outputs = record.parity.outputs if record.parity else []
    cosines = [output.cosine for output in outputs if output.cosine is not None]
    errors = [output.max_abs for output in outputs if output.max_abs is not None]
    least = f"{min(cosines):.6f}" if cosines else ""
    return _Row(name, status, size, least, f"{max(errors):.1e}" if errors else "")


def _status(record: ArtefactRecord) -> str:
    parity = record.parity
    if parity is None:
        return "not verified"
    if parity.failure:
        return "does not run here"
    if record.quantization is None:
        return "passed" if parity.passed else "parity failed"
    if record.simulated is None:
        return "not simulated"
    return "as simulated" if parity.passed else "not as simulated"


def _signature(specs: Sequence[TensorSpec]) -> str:
    described = (f"{spec.name} {'x'.join(map(str, spec.shape))} {spec.dtype}" for spec in specs)
    return _shortened(", ".join(described), 100)


def _one_line(text: str) -> str:
    return _shortened(" ".join(text.split()), 80)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
