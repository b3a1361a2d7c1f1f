"""Quantization section: savings, accuracy drop, and the sensitivity of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import (
    ArtefactRecord,
    DropRecord,
    LayerSensitivityRecord,
    Manifest,
    QuantizationRecord,
    SensitivityRecord,
    artefact_names,
)
from edgesdk.report.conditions import latency_under, main_condition
from edgesdk.report.labels import family
from edgesdk.report.measurements import Plot
from edgesdk.report.plots import Bar, bar_plot
from edgesdk.report.quantities import (
    MISSING,
    bytes_text,
    count_text,
    milliseconds_text,
    plain_number,
    share_text,
)
from edgesdk.report.scatter import Point, scatter_plot
from edgesdk.report.suggestions import suggestions

__all__ = ["QuantizationRow", "QuantizationView", "quantization_view"]

_MAX_BARS = 20


@dataclass(frozen=True)
class QuantizationRow:
    """Figures of one quantized artefact as text.

    Attributes:
        label: Short name, unique among the artefacts.
        size: Size, and its share of the float artefact's.
        small: Share of the weights in 8 bits or fewer.
        latency: Median latency, and speed-up over the float artefact.
        top1: Top-1 accuracy, with the float model's behind it.
        measured: Record of the accuracy drop; None if it was not measured.
        drop: Drop, and the metric that drops.
        gate: Bound of the drop, and the word met or missed.
        missed: True if the bound is missed.
        record: Record of the manifest.
        unquantized: Operators and layers that stayed float because they have no integer kernel.
        calibration: Origin of the ranges.
    """

    label: str
    size: str
    small: str
    latency: str
    top1: str
    measured: DropRecord | None
    drop: str
    gate: str
    missed: bool
    record: QuantizationRecord
    unquantized: Sequence[str]
    calibration: str


@dataclass(frozen=True)
class QuantizationView:
    """Quantization section of the page.

    Attributes:
        suggestions: One sentence per target.
        rows: One row per quantized artefact.
        latency_plot: Drop against latency.
        size_plot: Drop against size.
        sensitivities: Record of each analysed recipe, and a plot of its most sensitive layers.
        samples: Samples on which the drop was measured.
    """

    suggestions: Sequence[str]
    rows: Sequence[QuantizationRow]
    latency_plot: Plot
    size_plot: Plot
    sensitivities: Sequence[tuple[SensitivityRecord, Plot]]
    samples: str


def quantization_view(manifest: Manifest) -> QuantizationView | None:
    """Return the section; None if the manifest has no quantized artefact."""
    labelled = list(zip(manifest.artefacts, artefact_names(manifest.artefacts), strict=True))
    if not any(artefact.quantized for artefact, _ in labelled):
        return None
    drops = [
        artefact.quantized.drop
        for artefact, _ in labelled
        if artefact.quantized is not None and artefact.quantized.drop is not None
    ]
    return QuantizationView(
        suggestions=[found.reason for found in suggestions(manifest)],
        rows=[
            _row(manifest, artefact, label) for artefact, label in labelled if artefact.quantized
        ],
        latency_plot=_plot(
            labelled,
            "Accuracy drop against latency",
            "Horizontal: median latency.",
            lambda artefact: latency_under(artefact, main_condition(manifest)),
            milliseconds_text,
        ),
        size_plot=_plot(
            labelled,
            "Accuracy drop against size",
            "Horizontal: size.",
            lambda artefact: float(artefact.file.size),
            lambda value: bytes_text(round(value)),
        ),
        sensitivities=[(record, _sensitivity_plot(record)) for record in manifest.sensitivity],
        samples=f"{drops[0].samples} samples, {drops[0].source}" if drops else "",
    )


def _row(manifest: Manifest, artefact: ArtefactRecord, label: str) -> QuantizationRow:
    quantized = artefact.quantized
    if quantized is None:
        raise ValueError(f"{label} is not quantized")
    same_target = [other for other in manifest.artefacts if other.target == artefact.target]
    base = next((other for other in same_target if other.quantized is None), None)
    size = bytes_text(artefact.file.size)
    if base is not None:
        size += f" ({share_text(artefact.file.size / base.file.size)})"
    condition = main_condition(manifest)
    own = latency_under(artefact, condition)
    other_ms = None if base is None else latency_under(base, condition)
    latency = milliseconds_text(own)
    if own and other_ms:
        latency += f" ({other_ms / own:.2f}×)"
    total = sum(quantized.weights.values())
    small = sum(count for bits, count in quantized.weights.items() if bits <= 8)
    drop, calibration = quantized.drop, quantized.calibration
    normalised = tuple(f"{path}." for path in quantized.float_norms)
    unquantized = [
        f"{name} × {count_text(count)}" for name, count in quantized.float_operators.items()
    ]
    unquantized += [
        f"{layer.path}: {layer.reason}"
        for layer in quantized.layers
        if layer.bits > 8 and layer.reason and not layer.path.startswith(normalised)
    ]
    return QuantizationRow(
        label=label,
        size=size,
        small=share_text(small / total) if total else MISSING,
        latency=latency,
        top1=MISSING
        if drop is None or drop.top1 is None
        else f"{share_text(drop.top1)} (float {share_text(drop.float_top1)})",
        measured=drop,
        drop=MISSING if drop is None else f"{100 * drop.drop:.2f} % of {drop.metric}",
        gate=MISSING
        if drop is None or drop.bound is None
        else f"{'met' if drop.passed else 'missed'}, {share_text(drop.bound)} allowed",
        missed=drop is not None and not drop.passed,
        record=quantized,
        unquantized=unquantized,
        calibration=""
        if calibration is None
        else f"{count_text(calibration.samples)} of {calibration.source}, {calibration.method}",
    )


def _plot(
    labelled: Sequence[tuple[ArtefactRecord, str]],
    title: str,
    across: str,
    value: Callable[[ArtefactRecord], float | None],
    text: Callable[[float], str],
) -> Plot:
    points = []
    for artefact, label in labelled:
        x, lost = value(artefact), _loss(artefact)
        if x is None or lost is None:
            continue
        proven = artefact.parity is not None and artefact.parity.passed
        tooltip = f"{label}: {text(x)}, {100 * lost:.2f} % drop"
        points.append(Point(label, x, max(lost, 0.0), tooltip, family(artefact.target), proven))
    return Plot(
        title,
        f"{across} Vertical: drop against the float model. Lower left is better. Filled: passed, "
        "and not beaten by another such artefact in both.",
        scatter_plot(points, text, lambda lost: f"{100 * lost:.1f} %", title),
    )


def _loss(artefact: ArtefactRecord) -> float | None:
    if artefact.quantized is None:
        # A float artefact that passed equals the model.
        return 0.0 if artefact.parity is not None and artefact.parity.passed else None
    return None if artefact.quantized.drop is None else artefact.quantized.drop.drop


def _sensitivity_plot(record: SensitivityRecord) -> Plot:
    layers = record.layers

    def noise(layer: LayerSensitivityRecord) -> float:
        """Return the energy of the error as a share of the output's energy."""
        return 0.0 if layer.snr_db is None else 10 ** (-plain_number(layer.snr_db) / 10)

    bars = [
        Bar(
            layer.path or "(model)",
            noise(layer),
            f"{noise(layer):.2g} · {layer.snr_db:.1f} dB",
            f"{layer.path} ({layer.operator}): {count_text(layer.weights)} weights",
            hint=layer.where,
        )
        for layer in layers[:_MAX_BARS]
        if layer.snr_db is not None
    ]
    caption = "Simulated energy of the error at the outputs when only this layer is quantized."
    if len(layers) > len(bars):
        caption += f" {count_text(len(layers) - len(bars))} more have less."
    title = f"Most sensitive layers of {record.recipe}"
    return Plot(title, caption, bar_plot(bars, None, "Sensitivity by layer"))
