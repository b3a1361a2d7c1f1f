"""The targets by name. Nothing heavy is imported: converter modules load when they convert."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgesdk.errors import MissingBackendError, UnknownNameError, UsageError

__all__ = [
    "TARGETS",
    "Target",
    "is_installed",
    "parse_target",
    "parse_targets",
    "require_backends",
]


@dataclass(frozen=True)
class Target:
    """One target of conversion.

    Attributes:
        name: Name before the colon.
        suffix: File suffix of artefacts.
        module: Module with ``convert(request) -> Conversion``.
        imports: Import packages of the backend.
        extra: Extra of this distribution that installs the backend.
        variants: Names of variants, the default first.
        packages: Distributions whose versions affect the artefact.
        summary: One-line description.
    """

    name: str
    suffix: str
    module: str
    imports: tuple[str, ...]
    extra: str
    variants: tuple[str, ...]
    packages: tuple[str, ...]
    summary: str

    @property
    def installed(self) -> bool:
        """True if all packages of the backend are installed."""
        return all(map(is_installed, self.imports))

    def require(self) -> None:
        """Check that the backend is installed.

        Raises:
            MissingBackendError: The backend is not installed.
        """
        require_backends([self])

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
            ("executorch",),
            "executorch",
            ("xnnpack", "portable", "coreml", "vulkan"),
            ("executorch", "torchao"),
            "ExecuTorch program (.pte), delegated to XNNPACK unless the variant says otherwise",
        ),
        Target(
            "coreml",
            ".mlpackage",
            "edgesdk.converters.coreml",
            ("coremltools",),
            "coreml",
            ("fp16", "fp32"),
            ("coremltools",),
            "Core ML package (.mlpackage), an ML Program in half precision; fp32 on request",
        ),
        Target(
            "litert",
            ".tflite",
            "edgesdk.converters.litert",
            ("litert_torch", "ai_edge_litert"),
            "litert",
            ("fp32",),
            ("litert-torch", "litert-converter", "ai-edge-litert", "jax"),
            "LiteRT flatbuffer (.tflite)",
        ),
        Target(
            "onnx",
            ".onnx",
            "edgesdk.converters.onnx",
            ("onnxscript", "onnx", "onnxruntime"),
            "onnx",
            ("fp32",),
            ("onnx", "onnxscript", "onnx-ir", "onnxruntime"),
            "ONNX model (.onnx) for ONNX Runtime",
        ),
    )
}


def is_installed(package: str) -> bool:
    """Return True if Python finds an import package; it is not imported."""
    return importlib.util.find_spec(package) is not None


def require_backends(targets: Iterable[Target], extras: Mapping[str, str] | None = None) -> None:
    """Check that all packages are installed, without importing them.

    Args:
        targets: Targets whose backends are needed.
        extras: Further import packages, with the extra of each.

    Raises:
        MissingBackendError: Some are missing; the error names all, and one command for them.
    """
    needed = {name: target.extra for target in targets for name in target.imports}
    missing = {
        name: extra
        for name, extra in {**needed, **(extras or {})}.items()
        if not is_installed(name)
    }
    if missing:
        raise MissingBackendError(tuple(missing), tuple(missing.values()))


#: Targets by the names of their files, runtimes and systems.
_MEANT = {
    "ai-edge-litert": "litert",
    "android": "litert",
    "et": "executorch",
    "flatbuffer": "litert",
    "ios": "coreml",
    "mlmodel": "coreml",
    "mlpackage": "coreml",
    "mlprogram": "coreml",
    "onnxruntime": "onnx",
    "ort": "onnx",
    "pte": "executorch",
    "pytorch": "executorch",
    "tensorflow": "litert",
    "tf": "litert",
    "tflite": "litert",
    "tfl": "litert",
    "torch": "executorch",
    "xnnpack": "executorch:xnnpack",
    "vulkan": "executorch:vulkan",
}
_MEANT_VARIANTS = {"float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32"}


def parse_target(text: str) -> tuple[Target, str]:
    """Read ``name`` or ``name:variant``.

    Returns:
        The target and its variant; the default variant if none is given.

    Raises:
        UnknownNameError: The target or variant is unknown; the message suggests the nearest.
    """
    name, separator, variant = text.strip().partition(":")
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS, _MEANT)
    target = TARGETS[name]
    if separator and variant not in target.variants:
        error = UnknownNameError(f"variant of {name}", variant, target.variants, _MEANT_VARIANTS)
        near = error.remedy is not None and error.remedy.startswith("did you mean")
        if not near and re.fullmatch(r"(int|fp|w|palette)\d.*", variant):
            error.remedy = (
                f"variants are {', '.join(target.variants)}; smaller weights are a recipe: "
                f"--to {name} --quantize RECIPE (edgesdk export --help lists them)"
            )
        raise error
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
