"""Verdict on a bundle in one sentence and a few facts, computed from the summary rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgesdk.bundle.manifest import Manifest
from edgesdk.report.quantities import bytes_text, milliseconds_text
from edgesdk.report.summary import Status, SummaryRow, summary_rows

__all__ = ["Fact", "Verdict", "verdict"]


@dataclass(frozen=True)
class Fact:
    """Best artefact in one respect, or the only one with a figure.

    Attributes:
        title: Such as ``fastest``, or ``latency`` if there is only one artefact.
        label: Label of the artefact.
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
        facts: Best artefacts among those that passed.
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
    passed = by_status[Status.PASSED]
    evaluated = [row for row in passed if row.parity_mark]
    proof = ""
    if evaluated:
        who = "" if len(evaluated) == len(rows) == 1 else f"{_names(evaluated)} "
        proof = f" ({who}{evaluated[0].parity_mark})"
    if len(passed) == len(rows):
        who = "it equals" if len(rows) == 1 else "all equal"
        return f"{who} the original within the parity gate{proof}"
    parts = []
    if passed:
        verb = "equals" if len(passed) == 1 else "equal"
        parts.append(f"{len(passed)} {verb} the original within the parity gate{proof}")
    for status, one, many in (
        (Status.PARITY_FAILED, "misses the parity gate", "miss the parity gate"),
        (Status.NOT_RUN, "does not run", "do not run"),
    ):
        if by_status[status]:
            verb = one if len(by_status[status]) == 1 else many
            parts.append(f"{len(by_status[status])} {verb}: {_names(by_status[status])}")
    unverified = by_status[Status.NOT_VERIFIED]
    if len(unverified) == len(rows):
        return "nothing has been compared with the original yet"
    if unverified:
        parts.append(f"{len(unverified)} not verified: {_names(unverified)}")
    return ", ".join(parts)


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


def _latency_note(first: SummaryRow, others: Sequence[SummaryRow]) -> str:
    close = [
        f"{row.label} {milliseconds_text(row.p50_ms)}"
        for row in others
        if row.p50_ms is not None
        and first.p90_ms is not None
        and row.p50_ms <= first.p90_ms
        and milliseconds_text(row.p50_ms) != milliseconds_text(first.p50_ms)
    ]
    where = str(first.condition)
    if close:
        verb = "lies" if len(close) == 1 else "lie"
        where += f"; {', '.join(close)} {verb} within its spread"
    return where


def _facts(rows: Sequence[SummaryRow]) -> tuple[Fact, ...]:
    # An artefact that missed the gate is never recommended, even if it is the fastest.
    eligible = [row for row in rows if row.status is Status.PASSED]
    reservation = ""
    if not eligible:
        eligible = [row for row in rows if row.status is Status.NOT_VERIFIED]
        reservation = ", not verified"
    native = [row for row in eligible if not row.profile_mark]
    return (
        *_leader(
            (f"fastest{reservation}", f"latency{reservation}"),
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
    return Verdict(tone, _sentence(rows), _facts(rows))
