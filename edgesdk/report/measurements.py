"""Plots of the manifest's figures, with their labels and captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgesdk.bundle.manifest import Manifest, OperatorTime, ProfileRecord, artefact_names
from edgesdk.report.conditions import Condition, conditions, profile_under
from edgesdk.report.labels import evaluated_label, family
from edgesdk.report.plots import Bar, Dot, bar_plot, dot_plot
from edgesdk.report.quantities import (
    bound_text,
    bytes_text,
    cosine_text,
    count_text,
    error_text,
    milliseconds_text,
    share_text,
)
from edgesdk.report.scatter import Point, scatter_plot
from edgesdk.report.summary import Status, SummaryRow

__all__ = [
    "OperatorPlot",
    "Plot",
    "latency_plots",
    "operator_plots",
    "parity_plots",
    "size_plot",
    "trade_off_plot",
]

_MAX_OPERATORS = 15
_MAX_KINDS = 8


@dataclass(frozen=True)
class Plot:
    """A plot with its heading and caption.

    Attributes:
        title: Heading.
        caption: Explanation of the plot, and figures it omits.
        body: The plot; empty if there is nothing to draw.
    """

    title: str
    caption: str
    body: Markup


@dataclass(frozen=True)
class OperatorPlot:
    """Time by operator of one artefact.

    Attributes:
        label: Label of the artefact.
        mark: Mark of an evaluator's figures; empty for a runtime's.
        condition: Device and threads.
        kinds: Plot by operator type; empty if all types differ.
        operators: Plot of the most expensive operators.
        rest: Sentence about the operators that the plot omits.
        note: Origin of the times.
    """

    label: str
    mark: str
    condition: str
    kinds: Markup
    operators: Markup
    rest: str
    note: str


def size_plot(rows: Sequence[SummaryRow]) -> Plot:
    """Plot the sizes of the artefacts, smallest first."""
    sized = [row for row in rows if row.size_bytes is not None]
    bars = [
        Bar(
            row.label,
            row.size_bytes or 0,
            bytes_text(row.size_bytes),
            f"{row.label}: {count_text(row.size_bytes or 0)} bytes, {row.precision}",
            row.family,
            hint=_hint(row, row.precision),
        )
        for row in sorted(sized, key=lambda row: row.size_bytes or 0)
    ]
    caption = "Bytes on disk, smallest first."
    return Plot("Size", caption, bar_plot(bars, _bytes_tick, "Size by artefact"))


def _hint(row: SummaryRow, words: str) -> str:
    """Return ``words`` with the status before it, unless the artefact passed."""
    if row.status is Status.PASSED:
        return words
    return f"{row.status.icon} {row.status.value} · {words}"


def _bytes_tick(value: float) -> str:
    """Write a tick of a size axis without trailing zeros: ``5 MB``."""
    text, unit = bytes_text(round(value)).split(" ")
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"


def _milliseconds_tick(value: float) -> str:
    return f"{value:,.6g} ms"


def latency_plots(manifest: Manifest, rows: Sequence[SummaryRow]) -> list[Plot]:
    """Plot latencies, one plot per condition; an evaluator's figures are listed, not drawn."""
    return [_latency_plot(manifest, rows, condition) for condition in conditions(manifest)]


def _latency_plot(manifest: Manifest, rows: Sequence[SummaryRow], condition: Condition) -> Plot:
    measured: list[tuple[SummaryRow, ProfileRecord]] = []
    omitted = []
    # Rows of failures come after those of the artefacts.
    for artefact, row in zip(manifest.artefacts, rows, strict=False):
        profile = profile_under(artefact, condition)
        if profile is None:
            continue
        if profile.evaluator:
            figure = milliseconds_text(profile.latency.p50)
            omitted.append(f"{row.label} {figure} ({evaluated_label(artefact.target)})")
        else:
            measured.append((row, profile))
    bars = [
        Bar(
            row.label,
            profile.latency.p50,
            milliseconds_text(profile.latency.p50),
            _latency_title(row.label, profile),
            row.family,
            low=profile.latency.p10,
            high=profile.latency.p90,
            hint=_hint(row, profile.runtime),
        )
        for row, profile in sorted(measured, key=lambda item: item[1].latency.p50)
    ]
    caption = f"{condition}. Bar: median. Whisker: 10th to 90th percentile."
    if omitted:
        caption += f" Not drawn, because an evaluator was timed: {'; '.join(omitted)}."
    return Plot("Latency", caption, bar_plot(bars, _milliseconds_tick, f"Latency on {condition}"))


def _latency_title(label: str, profile: ProfileRecord) -> str:
    latency = profile.latency
    figures = {
        "p10": latency.p10,
        "p50": latency.p50,
        "p90": latency.p90,
        "p99": latency.p99,
        "fastest": latency.min,
        "slowest": latency.max,
    }
    written = ", ".join(f"{name} {milliseconds_text(value)}" for name, value in figures.items())
    return f"{label}, {profile.runtime}, {count_text(profile.runs)} runs: {written}"


def parity_plots(manifest: Manifest, rows: Sequence[SummaryRow]) -> list[Plot]:
    """Plot cosine distance and relative error on log axes, each artefact with its own gate."""
    cosines, errors = [], []
    for artefact, row in zip(manifest.artefacts, rows, strict=False):
        parity = artefact.parity
        if parity is None or row.status is Status.NOT_RUN:
            continue
        gate = parity.gate
        cosine, error = row.cosine, row.relative_error
        text, gate_text = cosine_text(cosine), bound_text(gate.cosine)
        distance = None if cosine is None else max(0.0, 1 - cosine)
        passed = cosine is not None and cosine >= gate.cosine
        cosines.append(_dot(row, "cosine", text, gate_text, distance, 1 - gate.cosine, passed))
        text, gate_text = error_text(error), bound_text(gate.relative_error)
        passed = error is not None and error <= gate.relative_error
        errors.append(
            _dot(row, "relative error", text, gate_text, error, gate.relative_error, passed)
        )
    # Parity compares a quantized artefact with its simulation.
    simulated = [artefact.simulated is not None for artefact in manifest.artefacts]
    reference = "original"
    if any(simulated):
        reference = "simulation" if all(simulated) else "original or the simulation"
    reading = "Left is better; the dashed line is the gate. Ring: figure of an evaluator."
    return [
        Plot(
            f"Cosine distance to the {reference}",
            f"1 − cosine, worst sample and output, log axis. {reading}",
            dot_plot(cosines, "Cosine distance by artefact"),
        ),
        Plot(
            "Relative error",
            f"Largest difference as a share of the output's range, log axis. {reading}",
            dot_plot(errors, "Relative error by artefact"),
        ),
    ]


def _dot(
    row: SummaryRow,
    name: str,
    text: str,
    gate_text: str,
    value: float | None,
    gate: float,
    passed: bool,
) -> Dot:
    mark = f" ({row.parity_mark})" if row.parity_mark else ""
    unknown = "not comparable" if row.finite else "not finite"
    return Dot(
        row.label,
        value,
        unknown if value is None else text,
        f"{row.label}: {name} {text}, gate {gate_text}{mark}",
        gate,
        row.family,
        passed,
        hollow=bool(row.parity_mark),
        hint="evaluated" if row.parity_mark else "",
    )


def trade_off_plot(rows: Sequence[SummaryRow]) -> Plot:
    """Plot size against latency of the artefacts timed under the summary's condition."""
    proven = any(row.status is Status.PASSED for row in rows)
    points = [
        Point(
            row.label if row.status is Status.PASSED else f"{row.status.icon} {row.label}",
            row.p50_ms,
            row.size_bytes,
            f"{row.label}: {milliseconds_text(row.p50_ms)}, {bytes_text(row.size_bytes)}, "
            f"{row.status.value}",
            row.family,
            # An artefact that missed the gate is never recommended.
            eligible=row.status is Status.PASSED
            or (row.status is Status.NOT_VERIFIED and not proven),
        )
        for row in rows
        if row.p50_ms is not None and row.size_bytes is not None and not row.profile_mark
    ]
    condition = next((row.condition for row in rows if row.condition is not None), None)
    return Plot(
        "Size against latency",
        f"Horizontal: median latency ({condition}). Vertical: size. Lower left is better. "
        f"Filled: {'passed' if proven else 'not verified'}, and not beaten by another such "
        "artefact in both size and latency.",
        scatter_plot(points, _milliseconds_tick, _bytes_tick, "Size against latency"),
    )


def operator_plots(manifest: Manifest) -> list[OperatorPlot]:
    """Plot time by operator, for each artefact under the first condition that has times."""
    plots = []
    labels = artefact_names(manifest.artefacts)
    measured = conditions(manifest)
    for artefact, label in zip(manifest.artefacts, labels, strict=True):
        for condition in measured:
            profile = profile_under(artefact, condition)
            if profile is not None and (profile.operators or profile.operators_note):
                mark = evaluated_label(artefact.target) if profile.evaluator else ""
                plots.append(_operator_plot(label, artefact.target, mark, condition, profile))
                break
    return plots


def _operator_plot(
    label: str, target: str, mark: str, condition: Condition, profile: ProfileRecord
) -> OperatorPlot:
    ranked = sorted(profile.operators, key=lambda operator: -operator.milliseconds)
    shares = _shares(ranked)
    colour = family(target)
    bars = [
        Bar(
            operator.name,
            operator.milliseconds,
            f"{milliseconds_text(operator.milliseconds)} · {share_text(share)}",
            f"{operator.name} ({operator.operator}): {milliseconds_text(operator.milliseconds)}",
            colour,
            hint=" · ".join(part for part in (operator.operator, operator.where) if part),
        )
        for operator, share in zip(ranked[:_MAX_OPERATORS], shares, strict=False)
    ]
    by_kind: dict[str, tuple[float, float, int]] = {}
    for operator, share in zip(ranked, shares, strict=True):
        time, part, count = by_kind.get(operator.operator, (0.0, 0.0, 0))
        by_kind[operator.operator] = (time + operator.milliseconds, part + share, count + 1)
    kinds = [
        Bar(
            f"{kind} ×{count}",
            time,
            f"{milliseconds_text(time)} · {share_text(part)}",
            f"{kind}: {count} operators, {milliseconds_text(time)}",
            colour,
        )
        for kind, (time, part, count) in sorted(by_kind.items(), key=lambda item: -item[1][0])
    ]
    rest = ""
    if hidden := ranked[_MAX_OPERATORS:]:
        time = sum(operator.milliseconds for operator in hidden)
        rest = (
            f"{len(hidden)} more take {milliseconds_text(time)} together "
            f"({share_text(sum(shares[_MAX_OPERATORS:]))})."
        )
    return OperatorPlot(
        label,
        mark,
        str(condition),
        bar_plot(kinds[:_MAX_KINDS], None, f"Time by operator type of {label}")
        if len(kinds) < len(ranked)
        else Markup(""),
        bar_plot(bars, None, f"Most expensive operators of {label}"),
        rest,
        profile.operators_note,
    )


def _shares(operators: Sequence[OperatorTime]) -> list[float]:
    """Return shares as recorded, or computed if the record has none."""
    if any(operator.share > 0 for operator in operators):
        return [operator.share for operator in operators]
    total = sum(max(0.0, operator.milliseconds) for operator in operators)
    return [max(0.0, op.milliseconds) / total if total > 0 else 0.0 for op in operators]
