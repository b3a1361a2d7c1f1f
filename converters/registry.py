"""The targets by name. Nothing heavy is imported: converter modules load when they convert."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from edgesdk.errors import MissingBackendError, UnknownNameError, UsageError

__all__ = ["TARGETS", "Target", "parse_target", "parse_targets"]


@dataclass(frozen=True)
class Target:
    """One target of conversion.

    Attributes:
        name: Name before the colon.
        suffix: File suffix of artefacts.
        module: Module with ``convert(request) -> Conversion``.
        package: Import package of the backend.
        extra: Extra of this distribution that installs the backend.
        variants: Names of variants, the default first.
        packages: Distributions whose versions affect the artefact.
        summary: One-line description.
    """

    name: str
    suffix: str
    module: str
    package: str
    extra: str
    variants: tuple[str, ...]
    packages: tuple[str, ...]
    summary: str

    def require(self) -> None:
        """Check that the backend is installed.

        Raises:
            MissingBackendError: The backend is not installed.
        """
        if importlib.util.find_spec(self.package) is None:
            raise MissingBackendError(self.package, self.extra)

    def qualified(self, variant: str) -> str:
        """Return the name with its variant, as in the manifest."""
        return f"{self.name}:{variant}"


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "executorch",
            ".pte",
            "edgesdk.converters.executorch",
            "executorch",
            "executorch",
            ("xnnpack", "portable", "coreml", "vulkan"),
            ("executorch", "torchao"),
            "ExecuTorch program (.pte), delegated to XNNPACK unless the variant says otherwise",
        ),
        Target(
            "coreml",
            ".mlpackage",
            "edgesdk.converters.coreml",
            "coremltools",
            "coreml",
            ("fp16", "fp32"),
            ("coremltools",),
            "Core ML package (.mlpackage), an ML Program in half precision; fp32 on request",
        ),
        Target(
            "litert",
            ".tflite",
            "edgesdk.converters.litert",
            "litert_torch",
            "litert",
            ("fp32",),
            ("litert-torch", "litert-converter", "ai-edge-litert", "jax"),
            "LiteRT flatbuffer (.tflite)",
        ),
        Target(
            "onnx",
            ".onnx",
            "edgesdk.converters.onnx",
            "onnxscript",
            "onnx",
            ("fp32",),
            ("onnx", "onnxscript", "onnx-ir", "onnxruntime"),
            "ONNX model (.onnx) for ONNX Runtime",
        ),
    )
}


def parse_target(text: str) -> tuple[Target, str]:
    """Read ``name`` or ``name:variant``.

    Returns:
        The target and its variant; the default variant if none is given.

    Raises:
        UnknownNameError: The target or variant is unknown; the message suggests the nearest.
    """
    name, separator, variant = text.strip().partition(":")
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    target = TARGETS[name]
    if separator and variant not in target.variants:
        raise UnknownNameError(f"variant of {name}", variant, target.variants)
    return target, variant or target.variants[0]


def parse_targets(texts: Iterable[str]) -> list[tuple[Target, str]]:
    """Parse several targets, in order; a text may hold several, separated by commas.

    Raises:
        UnknownNameError: See :func:`parse_target`.
        UsageError: No target is given, or one is given twice.
    """
    names = [name for text in texts for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("no target given", remedy=f"--to {','.join(TARGETS)}")
    found = [parse_target(name) for name in names]
    qualified = [target.qualified(variant) for target, variant in found]
    for name in qualified:
        if qualified.count(name) > 1:
            raise UsageError(f"target {name} is given twice", remedy="name each target once")
    return found
