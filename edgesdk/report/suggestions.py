"""Which quantization to ship on each target: read from what was measured, never assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import ArtefactRecord, Manifest
from edgesdk.report.conditions import Condition, main_condition, profile_under
from edgesdk.report.labels import artefact_labels, target_label
from edgesdk.report.quantities import bytes_text, milliseconds_text, share_text

__all__ = ["LARGEST_DROP", "Suggestion", "suggestions"]

#: Largest drop that is suggested where the user named no bound, as a share.
LARGEST_DROP = 0.02
#: Latencies this close, as a share, are one: the smaller file decides.
_NEAR = 0.05


@dataclass(frozen=True)
class Suggestion:
    """The artefact to ship on one target.

    Attributes:
        target: Target with variant.
        recipe: Its recipe, ``fp32`` or ``fp16`` where it is not quantized.
        label: Its name among the artefacts.
        file: Its path in the bundle.
        reason: Why, in words.
        drop: What it loses; None for one that is not quantized, or not measured.
        size_bytes: Its size.
        p50_ms: Median latency; None where no runtime measured it.
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
    """One suggestion a target that has several artefacts.

    Of those that are proven and lose no more than their bound (2 % without one) the fastest is
    suggested where a runtime measured latencies, the smaller of those within 5 % of it; else the
    smallest.
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
    latency = {artefact.file.path: _latency(artefact, condition) for artefact, _ in fit}
    timed = [(one, label) for one, label in fit if latency[one.file.path] is not None]
    if len(timed) > 1:
        fastest = min(latency[one.file.path] or 0.0 for one, _ in timed)
        near = [
            (one, label)
            for one, label in timed
            if (latency[one.file.path] or 0.0) <= fastest * (1 + _NEAR)
        ]
        chosen, label = min(near, key=lambda pair: (pair[0].file.size, pair[0].file.path))
        reason = _timed_reason(chosen, latency[chosen.file.path] or 0.0, artefacts, latency)
        if len(near) > 1:
            reason += "; the smaller of those as fast"
    else:
        chosen, label = min(fit, key=lambda pair: (pair[0].file.size, pair[0].file.path))
        reason = f"the smallest, {bytes_text(chosen.file.size)}; nothing tells latencies here"
    left_out = len(artefacts) - len(fit)
    if left_out:
        reason += f"; {left_out} others lose too much or are not proven"
    return Suggestion(
        target=target,
        recipe=chosen.quantization or chosen.precision,
        label=label,
        file=chosen.file.path,
        reason=f"{target_label(target)}: {label}, {reason}",
        drop=_drop(chosen),
        size_bytes=chosen.file.size,
        p50_ms=latency[chosen.file.path],
    )


def _timed_reason(
    chosen: ArtefactRecord,
    own: float,
    artefacts: Sequence[tuple[ArtefactRecord, str]],
    latency: dict[str, float | None],
) -> str:
    words = f"the fastest, {milliseconds_text(own)}"
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
    quantized = artefact.quantized
    if quantized is None:
        return True
    if quantized.drop is None:
        return False
    bound = LARGEST_DROP if quantized.drop.bound is None else quantized.drop.bound
    return quantized.drop.drop <= bound


def _drop(artefact: ArtefactRecord) -> float | None:
    quantized = artefact.quantized
    return quantized.drop.drop if quantized is not None and quantized.drop is not None else None


def _latency(artefact: ArtefactRecord, condition: Condition | None) -> float | None:
    profile = profile_under(artefact, condition)
    return None if profile is None or profile.evaluator else profile.latency.p50
