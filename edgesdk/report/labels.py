"""Names of targets and artefacts as people say them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgesdk.bundle.manifest import ArtefactRecord

__all__ = ["artefact_labels", "evaluated_label", "family", "precision_text", "target_label"]

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
    """The target without its variant if it is one we know, else ``other``. Safe as a CSS class."""
    name = target.partition(":")[0]
    return name if name in _FAMILIES else "other"


def target_label(target: str) -> str:
    """``executorch:xnnpack`` as ``ExecuTorch XNNPACK``; an unknown target as it stands."""
    name, separator, variant = target.partition(":")
    if name not in _FAMILIES:
        return target
    if not separator:
        return _FAMILIES[name]
    return f"{_FAMILIES[name]} {_VARIANTS.get(variant, variant)}"


def precision_text(artefact: ArtefactRecord) -> str:
    """``fp32``, or the quantization recipe and what the rest is kept in."""
    if artefact.quantization is None:
        return artefact.precision
    return f"{artefact.quantization}, rest {artefact.precision}"


def artefact_labels(artefacts: Sequence[ArtefactRecord]) -> list[str]:
    """A short name an artefact, in their order, each different from the others.

    The target's name alone where it is enough; else with quantization or precision, else with the
    file.
    """

    def detailed(artefact: ArtefactRecord) -> str:
        return f"{target_label(artefact.target)} {artefact.quantization or artefact.precision}"

    once = Counter(artefact.target for artefact in artefacts)
    labels = [
        target_label(artefact.target)
        if once[artefact.target] == 1 and artefact.quantization is None
        else detailed(artefact)
        for artefact in artefacts
    ]
    twice = Counter(labels)
    return [
        label if twice[label] == 1 else f"{label} ({artefact.file.path})"
        for label, artefact in zip(labels, artefacts, strict=True)
    ]


def evaluated_label(target: str) -> str:
    """How a figure is marked that an evaluator made, not a runtime."""
    if "coreml" in target.split(":"):
        return "evaluated, not Apple's arithmetic"
    return "evaluated, not a device's runtime"
