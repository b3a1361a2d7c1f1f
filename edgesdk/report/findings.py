"""Contents of the page beside the plots: delegate coverage, classes of photographs, protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import (
    ArtefactRecord,
    CoverageRecord,
    Manifest,
    UndelegatedOperator,
    artefact_names,
)
from edgesdk.report.summary import delegated_share

__all__ = [
    "ClassAnswer",
    "ClassifiedSample",
    "CoverageView",
    "classified_samples",
    "coverage_views",
    "protocols",
]

_MAX_DEPTH = 4


@dataclass(frozen=True)
class CoverageView:
    """Coverage by one delegate of one artefact.

    Attributes:
        record: Record of the manifest.
        share: Share of the operators delegated, 0..1, or None.
        delegated: Delegated operators with counts, most frequent first.
        undelegated: Operators that were not delegated, most frequent first.
        further: True for a further delegate of the same artefact.
    """

    record: CoverageRecord
    share: float | None
    delegated: Sequence[tuple[str, int]]
    undelegated: Sequence[UndelegatedOperator]
    further: bool

    @property
    def delegated_count(self) -> int:
        """Return the number of delegated operators."""
        return sum(count for _, count in self.delegated)

    @property
    def undelegated_count(self) -> int:
        """Return the number of operators that were not delegated."""
        return sum(operator.count for operator in self.undelegated)


def coverage_views(artefact: ArtefactRecord) -> list[CoverageView]:
    """Return coverage by the artefact's delegate and every further one; empty if unknown."""
    views: list[CoverageView] = []

    def visit(record: CoverageRecord, depth: int) -> None:
        delegated = sorted(record.delegated.items(), key=lambda item: (-item[1], item[0]))
        undelegated = sorted(record.left, key=lambda operator: -operator.count)
        share = delegated_share(record)
        views.append(CoverageView(record, share, delegated, undelegated, further=depth > 0))
        # The schema allows any depth; delegates need one level at most.
        if depth < _MAX_DEPTH:
            for further in record.also:
                visit(further, depth + 1)

    if artefact.coverage is not None:
        visit(artefact.coverage, 0)
    return views


@dataclass(frozen=True)
class ClassAnswer:
    """Class that one artefact gave a photograph.

    Attributes:
        label: Label of the artefact.
        target: Target as recorded.
        evaluated: True if an evaluator stood in for the runtime.
        predicted: Class given by the artefact.
        original: Class given by the model when this artefact was verified.
    """

    label: str
    target: str
    evaluated: bool
    predicted: str
    original: str

    @property
    def same(self) -> bool:
        """Return True if the artefact gave the model's class."""
        return self.predicted == self.original


@dataclass(frozen=True)
class ClassifiedSample:
    """A photograph with the classes that the model and the artefacts gave it.

    Attributes:
        name: Name of the sample.
        picture: Thumbnail as a ``data:`` URI, or empty.
        original: Class given by the model; empty if nothing was classified.
        artefacts: One answer per artefact that was verified on it.
    """

    name: str
    picture: str
    original: str
    artefacts: Sequence[ClassAnswer]


def classified_samples(manifest: Manifest, pictures: Mapping[str, str]) -> list[ClassifiedSample]:
    """Return every classified sample, then the pictures without a class.

    Args:
        manifest: Manifest with the classes.
        pictures: Thumbnails as ``data:`` URIs by sample name.
    """
    samples: dict[str, list[ClassAnswer]] = {}
    labels = artefact_names(manifest.artefacts)
    for artefact, label in zip(manifest.artefacts, labels, strict=True):
        if artefact.parity is None:
            continue
        evaluated = artefact.parity.evaluator
        for name, original, answer in artefact.parity.classes:
            answers = samples.setdefault(name, [])
            answers.append(ClassAnswer(label, artefact.target, evaluated, answer, original))
    for name in pictures:
        samples.setdefault(name, [])
    return [
        ClassifiedSample(name, pictures.get(name, ""), found[0].original if found else "", found)
        for name, found in samples.items()
    ]


def protocols(manifest: Manifest) -> list[str]:
    """Return the measurement protocols of all profiles, each once."""
    found = dict.fromkeys(
        profile.protocol for artefact in manifest.artefacts for profile in artefact.profiles
    )
    return [protocol for protocol in found if protocol]
