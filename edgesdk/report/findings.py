"""What each section of the page shows beside the plots, taken from the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import ArtefactRecord, CoverageRecord, LeftOperator, Manifest
from edgesdk.report.labels import artefact_labels
from edgesdk.report.summary import delegated_share

__all__ = [
    "CoverageView",
    "Seen",
    "SeenClass",
    "coverage_views",
    "protocols",
    "seen_classes",
]

_DEEPEST = 4


@dataclass(frozen=True)
class CoverageView:
    """Coverage by one delegate of one artefact.

    Attributes:
        delegate: Name of the delegate.
        record: As in the manifest.
        share: Part of the operators taken, 0..1, or None.
        taken: Operators taken with counts, most frequent first.
        left: Operators left, most frequent first.
        further: Whether this is a further delegate of the same artefact.
    """

    delegate: str
    record: CoverageRecord
    share: float | None
    taken: Sequence[tuple[str, int]]
    left: Sequence[LeftOperator]
    further: bool

    @property
    def taken_count(self) -> int:
        """Operators the delegate took."""
        return sum(count for _, count in self.taken)

    @property
    def left_count(self) -> int:
        """Operators the delegate left."""
        return sum(operator.count for operator in self.left)


def _view(record: CoverageRecord, further: bool) -> CoverageView:
    taken = sorted(record.delegated.items(), key=lambda item: (-item[1], item[0]))
    left = sorted(record.left, key=lambda operator: -operator.count)
    return CoverageView(record.delegate, record, delegated_share(record), taken, left, further)


def coverage_views(artefact: ArtefactRecord) -> list[CoverageView]:
    """Coverage by the artefact's delegate and by every further one; empty where nobody can tell."""
    views: list[CoverageView] = []

    def visit(record: CoverageRecord, depth: int) -> None:
        views.append(_view(record, further=depth > 0))
        # The schema allows any depth, and no delegate needs more than one.
        if depth < _DEEPEST:
            for further in record.also:
                visit(further, depth + 1)

    if artefact.coverage is not None:
        visit(artefact.coverage, 0)
    return views


@dataclass(frozen=True)
class SeenClass:
    """What one artefact saw on a photograph.

    Attributes:
        label: The artefact.
        target: Its target as recorded.
        evaluated: Whether an evaluator stood in for the runtime.
        seen: Class the artefact gave.
        original: Class the model itself gave when this artefact was verified.
    """

    label: str
    target: str
    evaluated: bool
    seen: str
    original: str

    @property
    def same(self) -> bool:
        """Whether the artefact saw what the model saw."""
        return self.seen == self.original


@dataclass(frozen=True)
class Seen:
    """A photograph with what everybody saw on it.

    Attributes:
        name: Name of the sample.
        picture: Thumbnail as a ``data:`` URI, or empty.
        original: Class the model itself gave; empty where nothing was classified.
        artefacts: One an artefact that was verified on it.
    """

    name: str
    picture: str
    original: str
    artefacts: Sequence[SeenClass]

    @property
    def differing(self) -> int:
        """Artefacts that saw something else than the model."""
        return sum(not artefact.same for artefact in self.artefacts)


def seen_classes(manifest: Manifest, pictures: Mapping[str, str]) -> list[Seen]:
    """One entry a sample that was classified, then the pictures of which no class is known.

    Args:
        manifest: The manifest.
        pictures: Thumbnails as ``data:`` URIs by sample name.
    """
    seen: dict[str, list[SeenClass]] = {}
    labels = artefact_labels(manifest.artefacts)
    for artefact, label in zip(manifest.artefacts, labels, strict=True):
        if artefact.parity is None:
            continue
        evaluated = artefact.parity.evaluator
        for name, original, answer in artefact.parity.classes:
            answers = seen.setdefault(name, [])
            answers.append(SeenClass(label, artefact.target, evaluated, answer, original))
    for name in pictures:
        seen.setdefault(name, [])
    return [
        Seen(name, pictures.get(name, ""), found[0].original if found else "", found)
        for name, found in seen.items()
    ]


def protocols(manifest: Manifest) -> list[str]:
    """Every protocol that profiles followed, each once."""
    found = dict.fromkeys(
        profile.protocol for artefact in manifest.artefacts for profile in artefact.profiles
    )
    return [protocol for protocol in found if protocol]
