"""Cost of the model, and its most expensive layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import CostRecord, LayerCostRecord, Manifest
from edgesdk.report.measurements import Plot
from edgesdk.report.plots import Bar, bar_plot
from edgesdk.report.quantities import (
    MISSING,
    amount_text,
    bytes_text,
    count_text,
    plain_number,
    share_text,
)

__all__ = ["CostRow", "CostView", "cost_view"]

_MAX_BARS = 15


@dataclass(frozen=True)
class CostRow:
    """Cost of one layer as text.

    Attributes:
        record: Record of the manifest.
        name: Path of the layer, or ``(model)`` for the model's own operators.
        output: Shape of its output.
        share: Share of all multiply-accumulates.
        bits: Precision of weights and activations.
    """

    record: LayerCostRecord
    name: str
    output: str
    share: str
    bits: str


@dataclass(frozen=True)
class CostView:
    """Cost section of the page.

    Attributes:
        totals: Title, figure and note of each total.
        plot: Layers with the most multiply-accumulates.
        rows: All layers, in the order of execution.
    """

    totals: Sequence[tuple[str, str, str]]
    plot: Plot
    rows: Sequence[CostRow]


def cost_view(manifest: Manifest) -> CostView | None:
    """Return the cost section; None if the manifest has no cost."""
    cost = manifest.cost
    if cost is None:
        return None
    totals = [
        ("Parameters", amount_text(cost.parameters), _by_bits(cost.parameters_by_bits)),
        ("Multiply-accumulates", amount_text(cost.macs), _by_bits(cost.macs_by_bits)),
        ("Weights", bytes_text(cost.memory_bytes), "each at its own precision"),
        ("Stored by torch", bytes_text(cost.size_bytes), "weights and buffers"),
    ]
    rows = [
        CostRow(
            layer,
            layer.name or "(model)",
            " × ".join(map(count_text, layer.output_shape)) or MISSING,
            _share(layer.macs, cost.macs),
            count_text(layer.weight_bits)
            if layer.weight_bits == layer.activation_bits
            else f"{count_text(layer.weight_bits)} / {count_text(layer.activation_bits)}",
        )
        for layer in cost.layers
    ]
    return CostView(totals, _plot(cost, rows), rows)


def _by_bits(counts: Mapping[int, int]) -> str:
    return ", ".join(f"{count_text(n)} of {count_text(bits)} bit" for bits, n in counts.items())


def _share(part: int, whole: int) -> str:
    return share_text(plain_number(part) / plain_number(whole)) if whole > 0 else MISSING


def _plot(cost: CostRecord, rows: Sequence[CostRow]) -> Plot:
    ranked = sorted((row for row in rows if row.record.macs), key=lambda row: -row.record.macs)
    bars = [
        Bar(
            row.name,
            plain_number(row.record.macs),
            f"{amount_text(row.record.macs)} · {row.share}",
            f"{row.name} ({row.record.kind}): {count_text(row.record.macs)} multiply-accumulates, "
            f"{count_text(row.record.parameters)} parameters",
            hint=f"{row.record.kind} · {row.output}",
        )
        for row in ranked[:_MAX_BARS]
    ]
    caption = "Multiply-accumulates for one sample, and their share."
    if rest := ranked[_MAX_BARS:]:
        macs = sum(row.record.macs for row in rest)
        caption += f" {count_text(len(rest))} more take {_share(macs, cost.macs)}."
    return Plot(
        "Layers with the most arithmetic",
        caption,
        bar_plot(bars, None, "Multiply-accumulates by layer"),
    )
