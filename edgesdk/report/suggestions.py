"""Suggest which quantization to ship on each target, from measurements only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import ArtefactRecord, Manifest
from edgesdk.report.conditions import Condition, latency_under, main_condition
from edgesdk.report.labels import artefact_labels, target_label
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
        label: Label of the artefact.
        file: Path of the artefact in the bundle.
        reason: Reason of the suggestion.
        drop: Accuracy drop; None if it is not quantized or not measured.
        size_bytes: Size in bytes.
        p50_ms: Median latency; None if no runtime was timed.
    """

    target: str
    recipe: str
    label: str
    file: str
    reason: str
    drop: float | None
    size_bytes: int
    p50_ms: float | None


def suggestions(manifest: Manifest) -> list[Suggestion]:
    """Suggest one artefact for each target that has several.

    Candidates passed parity and drop no more than their bound (2 % without one). The fastest is
    suggested, or the smallest of those within 5 % of it; without latencies, the smallest of all.

    Example:
        >>> for suggestion in suggestions(edgesdk.Bundle.open("net.edge").manifest):
        ...     print(suggestion.reason)
    """
    labels = artefact_labels(manifest.artefacts)
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
    fit = [(artefact, label) for artefact, label in artefacts if _fits(artefact)]
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
        reason = _timed_reason(chosen, artefacts, latency)
        if len(near) > 1:
            reason += "; the smallest of those about as fast"
    else:
        reason = f"the smallest, {bytes_text(chosen.file.size)}; latencies were not measured here"
    rejected = len(artefacts) - len(fit)
    if rejected:
        reason += f"; {rejected} rejected (drop too large or parity not passed)"
    quantized = chosen.quantized
    return Suggestion(
        target=target,
        recipe=chosen.quantization or chosen.precision,
        label=label,
        file=chosen.file.path,
        reason=f"{target_label(target)}: {label}, {reason}",
        drop=quantized.drop.drop if quantized is not None and quantized.drop is not None else None,
        size_bytes=chosen.file.size,
        p50_ms=latency.get(chosen.file.path),
    )


def _timed_reason(
    chosen: ArtefactRecord,
    artefacts: Sequence[tuple[ArtefactRecord, str]],
    latency: Mapping[str, float],
) -> str:
    words = f"the fastest, {milliseconds_text(latency[chosen.file.path])}"
    base = next((one for one, _ in artefacts if one.quantization is None), None)
    if base is None or base.file.path == chosen.file.path:
        return words
    other = latency.get(base.file.path)
    if other:
        words += f" against {milliseconds_text(other)} in float"
    return f"{words}, {share_text(chosen.file.size / base.file.size)} of its size"


def _fits(artefact: ArtefactRecord) -> bool:
    if artefact.parity is None or not artefact.parity.passed:
        return False
    if artefact.quantized is None:
        return True
    drop = artefact.quantized.drop
    return drop is not None and drop.drop <= (LARGEST_DROP if drop.bound is None else drop.bound)
