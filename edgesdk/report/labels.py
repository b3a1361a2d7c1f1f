"""Words for targets, precisions and losses of artefacts, and the notes that several share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from edgesdk.bundle.manifest import ArtefactRecord, DropRecord, Manifest, RewriteRecord
from edgesdk.report.quantities import MISSING, cosine_text, share_text

__all__ = [
    "evaluated_label",
    "family",
    "float_loss",
    "is_simulated",
    "loss_text",
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
    """Write ``executorch:xnnpack`` as ``ExecuTorch XNNPACK``; keep an unknown target.

    It describes an artefact; :func:`edgesdk.bundle.manifest.artefact_names` names it.
    """
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


def is_simulated(artefact: ArtefactRecord) -> bool:
    """Return True if parity compares the artefact with its simulation, not with the model."""
    return artefact.simulated is not None


def float_loss(artefact: ArtefactRecord) -> DropRecord | None:
    """Return the loss of a quantized artefact against the float model; None if unknown.

    The drop on evaluation data comes before the loss on the samples of parity.
    """
    quantized = artefact.quantized
    return artefact.loss if quantized is None or quantized.drop is None else quantized.drop


def loss_text(artefact: ArtefactRecord) -> str:
    """Write the loss of a quantized artefact: ``drop 1.2 %, agreement 98.8 %, cosine 0.999131``."""
    loss = float_loss(artefact)
    if loss is None:
        return MISSING if artefact.quantization is None else "not measured"
    parts = []
    if loss is not artefact.loss:
        parts.append(f"drop {share_text(loss.drop)}")
    if loss.agreement is not None:
        parts.append(f"agreement {share_text(loss.agreement)}")
    if loss.cosine is not None:
        parts.append(f"cosine {cosine_text(loss.cosine)}")
    return ", ".join(parts)


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
