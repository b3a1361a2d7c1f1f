"""Readable names of targets and artefacts, and the notes that several artefacts share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from edgesdk.bundle.manifest import ArtefactRecord, Manifest, RewriteRecord

__all__ = [
    "artefact_labels",
    "evaluated_label",
    "family",
    "notes_by_artefacts",
    "precision_text",
    "rewrites_by_artefacts",
    "target_label",
]

_Item = TypeVar("_Item")

_FAMILIES = {
    "coreml": "Core ML",
    "executorch": "ExecuTorch",
    "litert": "LiteRT",
    "onnx": "ONNX Runtime",
}
_VARIANTS = {
    "coreml": "Core ML",
    "mps": "MPS",
    "portable": "portable",
    "qnn": "QNN",
    "vulkan": "Vulkan",
    "xnnpack": "XNNPACK",
}


def family(target: str) -> str:
    """Return a known target without its variant, else ``other``; safe as a CSS class."""
    name = target.partition(":")[0]
    return name if name in _FAMILIES else "other"


def target_label(target: str) -> str:
    """Write ``executorch:xnnpack`` as ``ExecuTorch XNNPACK``; keep an unknown target."""
    name, separator, variant = target.partition(":")
    if name not in _FAMILIES:
        return target
    if not separator:
        return _FAMILIES[name]
    return f"{_FAMILIES[name]} {_VARIANTS.get(variant, variant)}"


def precision_text(artefact: ArtefactRecord) -> str:
    """Return ``fp32``, or the quantization recipe and the precision of the rest."""
    if artefact.quantization is None:
        return artefact.precision
    return f"{artefact.quantization}, rest {artefact.precision}"


def artefact_labels(artefacts: Sequence[ArtefactRecord]) -> list[str]:
    """Return a short, unique name for each artefact, in order.

    The target's name if it is unique, else with quantization or precision, else with the file.
    """
    targets = Counter(artefact.target for artefact in artefacts)
    labels = []
    for artefact in artefacts:
        label = target_label(artefact.target)
        if targets[artefact.target] > 1 or artefact.quantization is not None:
            label += f" {artefact.quantization or artefact.precision}"
        labels.append(label)
    repeated = Counter(labels)
    return [
        label if repeated[label] == 1 else f"{label} ({artefact.file.path})"
        for label, artefact in zip(labels, artefacts, strict=True)
    ]


def evaluated_label(target: str) -> str:
    """Return the mark of a figure that comes from an evaluator instead of a runtime."""
    if "coreml" in target.split(":"):
        return "evaluated, not Apple's arithmetic"
    return "evaluated, not a device's runtime"


def notes_by_artefacts(
    manifest: Manifest, labels: Sequence[str]
) -> list[tuple[list[str], list[str]]]:
    """Return the notes of the converters, grouped by the artefacts that share them.

    Args:
        manifest: The manifest.
        labels: One label per artefact.

    Returns:
        Labels and their notes, in the order of the artefacts.
    """
    return _grouped(manifest, labels, lambda record: record.notes, str)


def rewrites_by_artefacts(
    manifest: Manifest, labels: Sequence[str]
) -> list[tuple[list[str], list[RewriteRecord]]]:
    """Return the rewrites, grouped by the artefacts that share them.

    Args:
        manifest: The manifest.
        labels: One label per artefact.

    Returns:
        Labels and their rewrites, in the order of the artefacts.
    """
    return _grouped(
        manifest, labels, lambda record: record.rewrites, lambda rewrite: rewrite.model_dump_json()
    )


def _grouped(
    manifest: Manifest,
    labels: Sequence[str],
    items: Callable[[ArtefactRecord], Iterable[_Item]],
    key: Callable[[_Item], Hashable],
) -> list[tuple[list[str], list[_Item]]]:
    found: dict[Hashable, tuple[_Item, dict[str, None]]] = {}
    for record, label in zip(manifest.artefacts, labels, strict=True):
        for item in items(record):
            found.setdefault(key(item), (item, {}))[1][label] = None
    groups: dict[tuple[str, ...], list[_Item]] = {}
    for item, names in found.values():
        groups.setdefault(tuple(names), []).append(item)
    return [(list(names), shared) for names, shared in groups.items()]
