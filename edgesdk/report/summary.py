"""Rows of the summary table of the terminal and of the report, one per target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from edgesdk.bundle.manifest import (
    ArtefactRecord,
    ConstantOutputRecord,
    CoverageRecord,
    GateRecord,
    Manifest,
    OutputParity,
    ProfileRecord,
    artefact_names,
)
from edgesdk.report.conditions import Condition, main_condition, profile_under
from edgesdk.report.labels import (
    evaluated_label,
    family,
    float_loss,
    is_simulated,
    loss_text,
    precision_text,
)
from edgesdk.report.quantities import (
    MISSING,
    bound_text,
    bytes_text,
    cosine_text,
    count_text,
    decibel_text,
    error_text,
    milliseconds_text,
    share_text,
)

__all__ = [
    "COLUMNS",
    "Status",
    "SummaryRow",
    "delegated_share",
    "missed_bounds",
    "summary_rows",
    "warnings_of",
]


class Status(Enum):
    """Status of a target; the value is the shown word.

    ``icon`` is shown beside the word, ``tone`` (good, bad, open) sets the colour.
    """

    PASSED = "passed"
    AS_SIMULATED = "as simulated"
    NOT_SIMULATED = "not simulated"
    PROVES_NOTHING = "proves nothing"
    PARITY_FAILED = "parity failed"
    NOT_AS_SIMULATED = "not as simulated"
    LOSES_TOO_MUCH = "loses too much"
    NOT_RUN = "does not run"
    FAILED = "failed"
    NOT_VERIFIED = "not verified"

    @property
    def icon(self) -> str:
        """Return one character that distinguishes the states without colour."""
        return {"good": "✓", "open": "?"}.get(self.tone, "≠" if self in _UNEQUAL else "✗")

    @property
    def tone(self) -> str:
        """Return ``good``, ``bad`` or ``open``."""
        if self in (Status.PASSED, Status.AS_SIMULATED):
            return "good"
        return "open" if self in _OPEN else "bad"


_OPEN = (Status.NOT_SIMULATED, Status.NOT_VERIFIED, Status.PROVES_NOTHING)
_UNEQUAL = (Status.PARITY_FAILED, Status.NOT_AS_SIMULATED, Status.LOSES_TOO_MUCH)

#: Headings of :meth:`SummaryRow.cells`, in order.
COLUMNS = (
    "target",
    "status",
    "precision",
    "size",
    "p50",
    "p90",
    "peak memory",
    "load",
    "cosine",
    "max abs",
    "relative",
    "SNR",
    "top-1",
    "against float",
    "delegated",
)


@dataclass(frozen=True)
class SummaryRow:
    """One artefact, or one target without an artefact; an unknown figure is None.

    Attributes:
        label: Name of the artefact, as ``--target`` takes it.
        target: Target with variant, as in the manifest.
        recipe: Name of its quantization; empty for none.
        family: Known target without variant, else ``other``.
        status: Status of the artefact or target. Figures of parity of a quantized artefact compare
            with its simulation.
        reason: Reason of a status other than ``passed`` and ``as simulated``.
        file: Path of the artefact in the bundle; empty for a failure.
        precision: Precision and quantization in words.
        parity_mark: Mark of parity figures of an evaluator; empty for a runtime.
        profile_mark: Mark of latency, memory and load time of an evaluator; likewise.
        size_bytes: Size of the artefact.
        p10_ms: Tenth percentile of the latency.
        p50_ms: Median latency.
        p90_ms: Ninetieth percentile of the latency.
        peak_bytes: Largest resident set of the process that ran it.
        load_ms: Median cold load.
        cosine: Smallest cosine over outputs and samples.
        max_abs: Largest absolute difference over outputs.
        relative_error: Largest relative error over outputs.
        snr_db: Smallest signal-to-noise ratio over outputs that differ.
        exact: Whether every output is equal bit by bit.
        finite: Whether every value of the artefact is finite.
        agreement: Smallest share of samples with the same top-1 class.
        loss: Loss of a quantized artefact against the float model, in words.
        delegated_share: Part of the operators that the delegate took, 0..1.
        partitions: Delegated pieces.
        condition: Device and threads of latency, memory and load time.
    """

    label: str
    target: str
    family: str
    status: Status
    recipe: str = ""
    reason: str = ""
    file: str = ""
    precision: str = ""
    parity_mark: str = ""
    profile_mark: str = ""
    size_bytes: int | None = None
    p10_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    peak_bytes: int | None = None
    load_ms: float | None = None
    cosine: float | None = None
    max_abs: float | None = None
    relative_error: float | None = None
    snr_db: float | None = None
    exact: bool = False
    finite: bool = True
    agreement: float | None = None
    loss: str = MISSING
    delegated_share: float | None = None
    partitions: int | None = None
    condition: Condition | None = None

    @property
    def status_text(self) -> str:
        """Return icon and word, with an evaluator's mark: ``✓ passed (evaluated, ...)``."""
        mark = f" ({self.parity_mark})" if self.parity_mark else ""
        return f"{self.status.icon} {self.status.value}{mark}"

    @property
    def max_abs_text(self) -> str:
        """Return the largest difference, or ``not finite``."""
        return error_text(self.max_abs) if self.finite else "not finite"

    @property
    def snr_text(self) -> str:
        """Return decibels, or ``exact`` if nothing differs."""
        return "exact" if self.exact else decibel_text(self.snr_db)

    @property
    def partitions_text(self) -> str:
        """Return the number of delegated partitions: ``3 partitions``; empty for none."""
        if not self.partitions:
            return ""
        return f"{count_text(self.partitions)} partition{'s' * (self.partitions != 1)}"

    @property
    def delegated_text(self) -> str:
        """Return share and number of partitions: ``98.4 % in 3 partitions``."""
        if self.delegated_share is None:
            return MISSING
        pieces = f" in {self.partitions_text}" if self.partitions else ""
        return f"{share_text(self.delegated_share)}{pieces}"

    def cells(self) -> tuple[str, ...]:
        """Return one cell of text per heading of :data:`COLUMNS`; an evaluator's are marked."""
        figures: tuple[str, ...] = (
            milliseconds_text(self.p50_ms),
            milliseconds_text(self.p90_ms),
            bytes_text(self.peak_bytes),
            milliseconds_text(self.load_ms),
        )
        if self.profile_mark:
            figures = tuple(f if f == MISSING else f"{f} (evaluated)" for f in figures)
        return (
            self.label,
            self.status_text,
            self.precision or MISSING,
            bytes_text(self.size_bytes),
            *figures,
            cosine_text(self.cosine),
            self.max_abs_text,
            error_text(self.relative_error),
            self.snr_text,
            share_text(self.agreement),
            self.loss,
            self.delegated_text,
        )


def delegated_share(coverage: CoverageRecord) -> float | None:
    """Return the share of delegated operators, 0..1; None if the record has no operators."""
    delegated = sum(max(0, count) for count in coverage.delegated.values())
    total = delegated + sum(max(0, operator.count) for operator in coverage.left)
    return delegated / total if total else None


def missed_bounds(output: OutputParity, gate: GateRecord) -> list[str]:
    """Return the bounds of the gate that an output misses, as text; empty if it meets all."""
    missed = []
    if not output.finite:
        missed.append("holds NaN or infinity")
    elif output.cosine is None or output.relative_error is None:
        missed.append("cannot be compared")
    if output.cosine is not None and output.cosine < gate.cosine:
        missed.append(f"cosine {cosine_text(output.cosine)} below {bound_text(gate.cosine)}")
    if output.relative_error is not None and output.relative_error > gate.relative_error:
        missed.append(
            f"relative error {error_text(output.relative_error)} above "
            f"{bound_text(gate.relative_error)}"
        )
    found, least = output.agreement, gate.agreement
    if least is not None and found is not None and found < least:
        missed.append(f"top-1 agreement {share_text(found)} below {share_text(least)}")
    return missed


def _status(artefact: ArtefactRecord, constant: set[str]) -> tuple[Status, str]:
    parity, simulated = artefact.parity, is_simulated(artefact)
    reference = "its simulation" if simulated else "the original"
    if parity is None:
        return Status.NOT_VERIFIED, f"not compared with {reference} yet"
    if parity.failure is not None:
        return Status.NOT_RUN, parity.failure
    if parity.passed:
        drop = artefact.quantized.drop if artefact.quantized is not None else None
        if drop is not None and not drop.passed:
            bound = share_text(drop.bound)
            return (
                Status.LOSES_TOO_MUCH,
                f"{share_text(drop.drop)} of {drop.metric}, {bound} allowed",
            )
        if parity.outputs and constant >= {output.name for output in parity.outputs}:
            return Status.PROVES_NOTHING, "the model's outputs do not depend on its inputs"
        if artefact.quantization is not None and not simulated:
            return Status.NOT_SIMULATED, "it runs, and only its loss against float is known"
        return (Status.AS_SIMULATED if simulated else Status.PASSED), ""
    reasons = [
        f"{output.name}: {', '.join(missed)}"
        for output in parity.outputs
        if (missed := missed_bounds(output, parity.gate))
    ]
    return (Status.NOT_AS_SIMULATED if simulated else Status.PARITY_FAILED), "; ".join(reasons)


def _smallest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _artefact_row(
    artefact: ArtefactRecord,
    label: str,
    profile: ProfileRecord | None,
    condition: Condition | None,
    constant: set[str],
) -> SummaryRow:
    status, reason = _status(artefact, constant)
    outputs = artefact.parity.outputs if artefact.parity is not None else []
    mark = evaluated_label(artefact.target)
    coverage = artefact.coverage
    return SummaryRow(
        label=label,
        target=artefact.target,
        family=family(artefact.target),
        status=status,
        recipe=artefact.quantization or "",
        reason=reason,
        file=artefact.file.path,
        precision=precision_text(artefact),
        parity_mark=mark if artefact.parity is not None and artefact.parity.evaluator else "",
        profile_mark=mark if profile is not None and profile.evaluator else "",
        size_bytes=artefact.file.size,
        p10_ms=profile.latency.p10 if profile else None,
        p50_ms=profile.latency.p50 if profile else None,
        p90_ms=profile.latency.p90 if profile else None,
        peak_bytes=profile.peak_memory_bytes if profile else None,
        load_ms=profile.load_ms if profile else None,
        cosine=_smallest(output.cosine for output in outputs),
        max_abs=_largest(output.max_abs for output in outputs),
        relative_error=_largest(output.relative_error for output in outputs),
        snr_db=_smallest(output.snr_db for output in outputs),
        exact=bool(outputs) and all(output.finite and output.max_abs == 0 for output in outputs),
        finite=all(output.finite for output in outputs),
        agreement=_smallest(output.agreement for output in outputs),
        loss=loss_text(artefact),
        delegated_share=delegated_share(coverage) if coverage else None,
        partitions=coverage.partitions if coverage else None,
        condition=condition if profile else None,
    )


def summary_rows(manifest: Manifest) -> list[SummaryRow]:
    """Return one row per artefact and then one per failure, in the manifest's order.

    Latency, memory and load time of all rows are of one condition, the first of
    :func:`edgesdk.report.conditions.conditions`; an artefact not measured under it has none.

    Example:
        >>> for row in summary_rows(edgesdk.Bundle.open("net.edge").manifest):
        ...     print(row.cells())
    """
    condition = main_condition(manifest)
    names = artefact_names(manifest.artefacts)
    constant = {output.name for output in manifest.constant_outputs}
    rows = [
        _artefact_row(artefact, name, profile_under(artefact, condition), condition, constant)
        for artefact, name in zip(manifest.artefacts, names, strict=True)
    ]
    for failure in manifest.failures:
        target, reason = failure.target, failure.message
        rows.append(SummaryRow(target, target, family(target), Status.FAILED, reason=reason))
    return rows


def warnings_of(manifest: Manifest) -> list[str]:
    """Return the reasons why figures of a manifest prove less than they seem to.

    They are outputs that do not depend on the inputs, and evaluations that every artefact passes.
    """
    constant = manifest.constant_outputs
    names = {output.name for output in constant}
    found = [_constant_warning(output) for output in constant]
    if constant and names >= {output.name for output in manifest.outputs}:
        found[-1] += (
            "; load trained weights (--weights), or give samples that change it (--samples)"
        )
    weak: dict[str, list[str]] = {}
    labels = artefact_names(manifest.artefacts)
    for artefact, label in zip(manifest.artefacts, labels, strict=True):
        loss = float_loss(artefact)
        # A constant model is named above; on few samples it needs no second warning.
        if loss is not None and loss.degenerate and not (names and loss is artefact.loss):
            weak.setdefault(loss.degenerate, []).append(label)
    found += [
        f"the loss against float says little: {reason} ({', '.join(labels)})"
        for reason, labels in weak.items()
    ]
    return found


def _constant_warning(output: ConstantOutputRecord) -> str:
    if output.kind == "constant":
        return (
            f"output {output.name!r} is the same for all {output.samples} samples: its parity "
            "proves nothing, because any artefact with this constant passes"
        )
    span = f"{error_text(output.variation)} between samples, activations {output.magnitude:.3g}"
    return f"output {output.name!r} vanishes ({span}): its parity proves nothing but rounding"
