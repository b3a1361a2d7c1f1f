"""Suggest which quantization to ship on each target, from measurements only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import ArtefactRecord, Manifest, artefact_names
from edgesdk.report.conditions import Condition, latency_under, main_condition
from edgesdk.report.quantities import bytes_text, milliseconds_text, share_text

__all__ = ["LARGEST_DROP", "Suggestion", "suggestions"]

#: Largest drop that is suggested if the user gave no bound, as a share.
LARGEST_DROP = 0.02
#: Latencies within this share count as equal: the smaller file wins.
_NEAR = 0.05


@dataclass(frozen=True)
class Suggestion:
    """The artefact to ship on one target.

    Attributes:
        target: Target with variant.
        recipe: Recipe, or ``fp32`` or ``fp16`` if it is not quantized.
        label: Name of the artefact.
        file: Path of the artefact in the bundle.
        why: Reason of the suggestion.
        drop: Accuracy drop; None if it is not quantized or not measured.
        size_bytes: Size in bytes.
        p50_ms: Median latency; None if no runtime was timed.
    """

    target: str
    recipe: str
    label: str
    file: str
    why: str
    drop: float | None
    size_bytes: int
    p50_ms: float | None

    @property
    def reason(self) -> str:
        """Return the artefact and the reason in one sentence."""
        return f"{self.label}: {self.why}"


def suggestions(manifest: Manifest) -> list[Suggestion]:
    """Suggest one artefact for each target that has several.

    Candidates passed parity and drop no more than their bound (2 % without one). The fastest is
    suggested, or the smallest of those within 5 % of it; without latencies, the smallest of all.
    Nothing is suggested if parity proves nothing because no output depends on the inputs.

    Example:
        >>> for suggestion in suggestions(edgesdk.Bundle.open("net.edge").manifest):
        ...     print(suggestion.reason)
    """
    constant = {output.name for output in manifest.constant_outputs}
    if constant and constant >= {output.name for output in manifest.outputs}:
        return []
    labels = artefact_names(manifest.artefacts)
    condition = main_condition(manifest)
    by_target: dict[str, list[tuple[ArtefactRecord, str]]] = {}
    for artefact, label in zip(manifest.artefacts, labels, strict=True):
        by_target.setdefault(artefact.target, []).append((artefact, label))
    return [
        found
        for target, artefacts in by_target.items()
        if len(artefacts) > 1 and (found := _suggested(target, artefacts, condition)) is not None
    ]


def _suggested(
    target: str, artefacts: Sequence[tuple[ArtefactRecord, str]], condition: Condition | None
) -> Suggestion | None:
    fit = [(artefact, label) for artefact, label in artefacts if not _objection(artefact)]
    if not fit:
        return None
    measured = {artefact.file.path: latency_under(artefact, condition) for artefact, _ in fit}
    latency = {path: value for path, value in measured.items() if value is not None}
    near = fit
    if len(latency) > 1:
        limit = min(latency.values()) * (1 + _NEAR)
        near = [pair for pair in fit if latency.get(pair[0].file.path, math.inf) <= limit]
    chosen, label = min(near, key=lambda pair: (pair[0].file.size, pair[0].file.path))
    if len(latency) > 1:
        why = _timed_reason(chosen, artefacts, near, latency)
    elif len(fit) == 1:
        why = f"the only one to choose, {bytes_text(chosen.file.size)}"
    else:
        why = f"the smallest, {bytes_text(chosen.file.size)}; latencies were not measured here"
    reasons = Counter(reason for artefact, _ in artefacts if (reason := _objection(artefact)))
    why += "".join(f"; {count} left out: {reason}" for reason, count in reasons.items())
    drop = chosen.quantized.drop if chosen.quantized is not None else None
    if drop is not None and drop.degenerate:
        why += f"; but its drop says little: {drop.degenerate}"
    return Suggestion(
        target=target,
        recipe=chosen.quantization or chosen.precision,
        label=label,
        file=chosen.file.path,
        why=why,
        drop=drop.drop if drop is not None else None,
        size_bytes=chosen.file.size,
        p50_ms=latency.get(chosen.file.path),
    )


def _timed_reason(
    chosen: ArtefactRecord,
    artefacts: Sequence[tuple[ArtefactRecord, str]],
    near: Sequence[tuple[ArtefactRecord, str]],
    latency: Mapping[str, float],
) -> str:
    own = milliseconds_text(latency[chosen.file.path])
    others = [label for artefact, label in near if artefact.file.path != chosen.file.path]
    # Latencies this close are noise: the smallest file of them is not called the fastest.
    words = (
        f"as fast as {', '.join(others)}, and smaller, {own}" if others else f"the fastest, {own}"
    )
    base = next((one for one, _ in artefacts if one.quantization is None), None)
    if base is None or base.file.path == chosen.file.path:
        return words
    other = latency.get(base.file.path)
    if other:
        words += f" against {milliseconds_text(other)} in float"
    return f"{words}, {share_text(chosen.file.size / base.file.size)} of its size"


def _objection(artefact: ArtefactRecord) -> str:
    """Return the reason against an artefact; empty if it may be suggested."""
    if artefact.parity is None or not artefact.parity.passed:
        return "parity not passed"
    if artefact.quantized is None:
        return ""
    drop = artefact.quantized.drop
    if drop is None:
        return "accuracy drop not measured"
    bound = LARGEST_DROP if drop.bound is None else drop.bound
    return "" if drop.drop <= bound else "drop too large"
