"""The targets by name. Nothing heavy: a converter's own module is imported where it converts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from edgesdk.errors import MissingBackendError, UnknownNameError, UsageError

__all__ = ["TARGETS", "Target", "parse_target", "parse_targets"]


@dataclass(frozen=True)
class Target:
    """What a program can be converted to.

    Attributes:
        name: Its name before the colon.
        suffix: Suffix of its artefacts.
        module: Module with ``convert(request) -> Conversion``.
        package: Import package of the backend.
        extra: Extra of this distribution that brings it.
        variants: CaptureSpec names, the default first.
        packages: Distributions whose versions decide what comes out.
        summary: One line for people.
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
            MissingBackendError: It is not.
        """
        if importlib.util.find_spec(self.package) is None:
            raise MissingBackendError(self.package, self.extra)

    def qualified(self, variant: str) -> str:
        """The name with its variant, as the manifest keeps it."""
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
            ("fp32", "fp16"),
            ("coremltools",),
            "Core ML package (.mlpackage), an ML Program",
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
        The target and its variant, the default one where none is given.

    Raises:
        UnknownNameError: An unknown target or variant, with the nearest known one.
    """
    name, separator, variant = text.strip().partition(":")
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    target = TARGETS[name]
    if separator and variant not in target.variants:
        raise UnknownNameError(f"variant of {name}", variant, target.variants)
    return target, variant or target.variants[0]


def parse_targets(texts: Iterable[str]) -> list[tuple[Target, str]]:
    """Read several targets, each once, in the order given; a text may list several by commas.

    Raises:
        UnknownNameError: See :func:`parse_target`.
        UsageError: No target, or one twice.
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
