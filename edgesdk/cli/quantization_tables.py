"""Tables of quantized artefacts in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.bundle.manifest import Manifest

__all__ = ["drops_table", "worst_layers_table"]


def drops_table(manifest: Manifest) -> Table | None:
    """Return the accuracy drop of each quantized artefact; None if there is none."""
    from rich.text import Text

    from edgesdk.cli.tables import plain_table

    found = [
        (f"{record.target} {record.quantization}", record.quantized)
        for record in manifest.artefacts
        if record.quantized is not None
    ]
    if not found:
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
    from edgesdk.cli.tables import plain_table

    rows = [
        (record, layer)
        for record in manifest.artefacts
        if record.quantized is not None and record.quantized.drop is not None
        for layer in record.quantized.drop.culprits[:most]
    ]
    if not rows:
        return None
    titles = ("target", "recipe", "layer", "weights", "SNR dB", "where")
    cells = [
        (
            record.target,
            record.quantization or "",
            layer.path,
            f"{layer.weights:,}",
            "–" if layer.snr_db is None else f"{layer.snr_db:.1f}",
            layer.where,
        )
        for record, layer in rows
    ]
    return plain_table(*titles, rows=cells)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
