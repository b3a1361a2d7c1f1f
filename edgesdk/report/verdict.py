"""Verdict on a bundle in one sentence and a few facts, computed from the summary rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgesdk.bundle.manifest import Manifest
from edgesdk.report.labels import family
from edgesdk.report.quantities import bytes_text, milliseconds_text
from edgesdk.report.suggestions import suggestions
from edgesdk.report.summary import Status, SummaryRow, summary_rows

__all__ = ["Fact", "Verdict", "verdict"]


@dataclass(frozen=True)
class Fact:
    """The artefact to ship on a target, the best one in one respect, or the only one with a figure.

    Attributes:
        title: Such as ``ship on onnx``, ``fastest``, ``among the fastest`` if others lie within its
            spread, or ``latency`` if there is only one artefact.
        label: Name of the artefact.
        family: Family of its target.
        figure: Figure with unit.
        note: Conditions and reservations.
        leads: True if another artefact was compared.
    """

    title: str
    label: str
    family: str
    figure: str
    note: str
    leads: bool

    def __str__(self) -> str:
        return f"{self.title}: {self.label} {self.figure}" + (f" ({self.note})" * bool(self.note))


@dataclass(frozen=True)
class Verdict:
    """Outcome of a bundle.

    Attributes:
        tone: ``good``: everything passed; ``bad``: something failed, nothing passed; or ``open``.
        sentence: Conversion and parity in one sentence.
        facts: Artefacts to ship, then the best ones among those that passed.
    """

    tone: Literal["good", "bad", "open"]
    sentence: str
    facts: tuple[Fact, ...]

    def __str__(self) -> str:
        return "; ".join([self.sentence, *map(str, self.facts)]) + "."


def _names(rows: Sequence[SummaryRow]) -> str:
    names = ", ".join(row.label for row in rows[:4])
    return f"{names} and {len(rows) - 4} more" if len(rows) > 4 else names


def _parity(rows: Sequence[SummaryRow]) -> str:
    """Describe the parity of the converted artefacts; ``rows`` has at least one."""
    by_status = {status: [row for row in rows if row.status is status] for status in Status}
    unverified = by_status[Status.NOT_VERIFIED]
    if len(unverified) == len(rows):
        return "nothing has been compared with the original yet"
    good = "; ".join(filter(None, [_equal(rows), _simulated(rows)]))
    parts = [good] if good else []
    for status, one, many in (
        (Status.PARITY_FAILED, "misses the parity gate", "miss the parity gate"),
        (Status.NOT_AS_SIMULATED, "does not compute as simulated", "do not compute as simulated"),
        (Status.LOSES_TOO_MUCH, "loses more than allowed", "lose more than allowed"),
        (
            Status.NOT_SIMULATED,
            "runs without a simulation to compare with",
            "run without a simulation to compare with",
        ),
        (Status.NOT_RUN, "does not run", "do not run"),
        (Status.PROVES_NOTHING, "proves nothing", "prove nothing"),
    ):
        if by_status[status]:
            verb = one if len(by_status[status]) == 1 else many
            reason = ", as the model's outputs do not depend on its inputs"
            reason *= status is Status.PROVES_NOTHING
            parts.append(f"{len(by_status[status])} {verb}: {_names(by_status[status])}{reason}")
    if unverified:
        parts.append(f"{len(unverified)} not verified: {_names(unverified)}")
    return ", ".join(parts)


def _equal(rows: Sequence[SummaryRow]) -> str:
    """Describe the artefacts that equal the original; quantized ones never do."""
    equal = [row for row in rows if row.status is Status.PASSED]
    if not equal:
        return ""
    quantized = any(row.recipe for row in rows)
    if len(equal) == len(rows):
        who = "it equals" if len(rows) == 1 else "all equal"
    else:
        copies = " copy" if len(equal) == 1 else " copies"
        who = f"{len(equal)}{copies * quantized} {'equals' if len(equal) == 1 else 'equal'}"
    return f"{who} the original within the parity gate{_evaluated(equal, len(rows))}"


def _simulated(rows: Sequence[SummaryRow]) -> str:
    """Describe the quantized artefacts that compute as simulated, with one's loss."""
    simulated = [row for row in rows if row.status is Status.AS_SIMULATED]
    if not simulated:
        return ""
    mark = _evaluated(simulated, len(rows))
    if len(simulated) == len(rows) == 1:
        return f"it computes as simulated{mark}; against float: {simulated[0].loss}"
    if len(simulated) == 1:
        (row,) = simulated
        return (
            f"1 quantized copy computes as simulated{mark}; {row.label} against float: {row.loss}"
        )
    count = "all" if len(simulated) == len(rows) else f"{len(simulated)}"
    return f"{count} quantized copies compute as simulated{mark}"


def _evaluated(rows: Sequence[SummaryRow], of: int) -> str:
    """Name the rows whose parity comes from an evaluator, unless there is only one artefact."""
    evaluated = [row for row in rows if row.parity_mark]
    if not evaluated:
        return ""
    who = "" if of == 1 else f"{_names(evaluated)} "
    return f" ({who}{evaluated[0].parity_mark})"


def _sentence(rows: Sequence[SummaryRow]) -> str:
    if not rows:
        return "Nothing has been converted yet"
    failed = [row for row in rows if row.status is Status.FAILED]
    made = [row for row in rows if row.status is not Status.FAILED]
    if not made:
        subject = "The one target" if len(rows) == 1 else f"Each of the {len(rows)} targets"
        return f"{subject} failed to convert: {_names(failed)}"
    distinct = len({row.target for row in rows}) == len(rows)
    noun = "targets converted" if distinct else "conversions succeeded"
    converted = f"{len(made)} of {len(rows)} {noun}"
    if len(rows) == 1:
        converted = f"{rows[0].label} was converted"
    if failed:
        converted += f" ({_names(failed)} failed)"
    return f"{converted}, {_parity(made)}"


def _leader(
    titles: tuple[str, str],
    rows: Sequence[SummaryRow],
    figure: Callable[[SummaryRow], float | None],
    text: Callable[[SummaryRow], str],
    note: Callable[[SummaryRow, Sequence[SummaryRow]], str],
) -> list[Fact]:
    measured = [row for row in rows if figure(row) is not None]
    if not measured:
        return []
    first = min(measured, key=lambda row: figure(row) or 0)
    others = [row for row in measured if row is not first]
    words = note(first, others)
    alike = [row for row in others if text(row) == text(first)]
    if alike:
        verb = "has" if len(alike) == 1 else "have"
        words = "; ".join(filter(None, [words, f"{_names(alike)} {verb} the same"]))
    # A single artefact is not compared, so its figure has a neutral title.
    title = titles[0] if others else titles[1]
    return [Fact(title, first.label, first.family, text(first), words, bool(others))]


def _as_fast(first: SummaryRow, others: Sequence[SummaryRow]) -> list[SummaryRow]:
    """Return the rows with another median than the first, within its spread."""
    return [
        row
        for row in others
        if row.p50_ms is not None
        and first.p90_ms is not None
        and row.p50_ms <= first.p90_ms
        and milliseconds_text(row.p50_ms) != milliseconds_text(first.p50_ms)
    ]


def _latency_note(first: SummaryRow, others: Sequence[SummaryRow]) -> str:
    close = _as_fast(first, others)
    where = str(first.condition)
    if close:
        names = ", ".join(f"{row.label} {milliseconds_text(row.p50_ms)}" for row in close)
        where += f"; as fast as {names}, within its spread"
    return where


def _facts(rows: Sequence[SummaryRow]) -> tuple[Fact, ...]:
    # An artefact that missed the gate is never recommended, even if it is the fastest.
    eligible = [row for row in rows if row.status.tone == "good"]
    reservation = ""
    if not eligible:
        eligible = [row for row in rows if row.status.tone == "open"]
        unverified = all(row.status is Status.NOT_VERIFIED for row in eligible)
        reservation = ", not verified" if unverified else ", not proven"
    native = [row for row in eligible if not row.profile_mark]
    timed = [row for row in native if row.p50_ms is not None]
    first = min(timed, key=lambda row: row.p50_ms or 0, default=None)
    noise = first is not None and _as_fast(first, [row for row in timed if row is not first])
    return (
        *_leader(
            (f"{'among the ' * bool(noise)}fastest{reservation}", f"latency{reservation}"),
            native,
            lambda row: row.p50_ms,
            lambda row: milliseconds_text(row.p50_ms),
            _latency_note,
        ),
        *_leader(
            (f"smallest{reservation}", f"size{reservation}"),
            eligible,
            lambda row: row.size_bytes,
            lambda row: bytes_text(row.size_bytes),
            lambda row, others: f"parity {row.parity_mark}" if row.parity_mark else "",
        ),
        *_leader(
            (f"least memory{reservation}", f"memory{reservation}"),
            native,
            lambda row: row.peak_bytes,
            lambda row: bytes_text(row.peak_bytes),
            lambda row, others: f"peak; {row.condition}",
        ),
    )


def _shipped(manifest: Manifest) -> list[Fact]:
    targets = {record.target for record in manifest.artefacts}
    families = Counter(target.partition(":")[0] for target in targets)
    return [
        Fact(
            f"ship on {_short(found.target, families)}",
            found.label,
            family(found.target),
            bytes_text(found.size_bytes)
            if found.p50_ms is None
            else milliseconds_text(found.p50_ms),
            found.why,
            leads=True,
        )
        for found in suggestions(manifest)
    ]


def _short(target: str, families: Mapping[str, int]) -> str:
    """Leave out the variant of a target that the bundle has in one variant only."""
    name = target.partition(":")[0]
    return name if families[name] == 1 else target


def verdict(manifest: Manifest) -> Verdict:
    """Judge a bundle; ``str()`` of the verdict is one line for a terminal.

    Example:
        >>> print(verdict(edgesdk.Bundle.open("net.edge").manifest))
        2 of 2 targets converted, all equal the original within the parity gate.
    """
    rows = summary_rows(manifest)
    tones = {row.status.tone for row in rows}
    tone: Literal["good", "bad", "open"] = "open"
    if tones == {"good"}:
        tone = "good"
    elif "bad" in tones and "good" not in tones:
        tone = "bad"
    return Verdict(tone, _sentence(rows), (*_shipped(manifest), *_facts(rows)))
