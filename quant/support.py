"""Which recipe which target can do, and why not where it cannot. Nothing heavy is imported."""

from __future__ import annotations

from edgesdk.errors import UnsupportedRecipeError
from edgesdk.quant.spec import QuantSpec

__all__ = ["refusal", "require_support", "supported_recipes"]

#: Recipes by target with variant.
_SUPPORTED: dict[str, tuple[str, ...]] = {
    "executorch:xnnpack": ("fp16", "w8a32_dynamic", "w4a32_dynamic", "w8a8_static"),
    "coreml": (
        "fp16",
        "w8_only",
        "w4_only",
        "w4_only_block32",
        "w8a8_static",
        "w4a8",
        "palette8",
        "palette6",
        "palette4",
        "palette2",
        "palette1",
    ),
    "litert": (
        "fp16",
        "w8_only",
        "w4_only",
        "w8a32_dynamic",
        "w4a32_dynamic",
        "w8a8_static",
        "w8a16_static",
        "w4a8",
    ),
    "onnx": (
        "fp16",
        "w8_only",
        "w4_only",
        "w4_only_block32",
        "w8a32_dynamic",
        "w4a32_dynamic",
        "w8a8_static",
        "w8a16_static",
        "w4a8",
    ),
}

#: Why a target lacks a recipe: the first row whose target and beginning of a name fit.
_REASONS: tuple[tuple[str, str, str], ...] = (
    ("executorch:xnnpack", "palette", "XNNPACK has no kernels for palettes"),
    ("executorch:xnnpack", "w8_only", "XNNPACK has no kernels for stored weights in float work"),
    ("executorch:xnnpack", "w4", "XNNPACK has 4-bit kernels for linear layers alone"),
    ("executorch:xnnpack", "w8a16", "XNNPACK has no 16-bit kernels"),
    ("executorch", "", "quantized operators are lowered for XNNPACK alone"),
    ("coreml", "w8a32_dynamic", "Core ML has no ranges taken while it runs"),
    ("coreml", "w4a32_dynamic", "Core ML has no ranges taken while it runs"),
    ("litert", "palette", "LiteRT has no palettes"),
    (
        "litert",
        "w4_only_block",
        "its kernels take a scale a block in fully connected layers alone, and round what those "
        "are given; w4_only has a scale an output channel",
    ),
    ("onnx", "palette", "ONNX Runtime has no palettes"),
)


def _row(target: str) -> tuple[str, ...]:
    return _SUPPORTED.get(target, _SUPPORTED.get(target.partition(":")[0], ()))


def supported_recipes(target: str) -> tuple[str, ...]:
    """Names of the recipes a target can do.

    Args:
        target: Target with variant, such as ``executorch:xnnpack``.
    """
    return _row(target)


def refusal(target: str, spec: QuantSpec) -> str:
    """Why a target cannot do a recipe; empty where it can.

    Args:
        target: Target with variant.
        spec: The recipe.
    """
    if spec.name in _row(target):
        return ""
    for own, beginning, reason in _REASONS:
        if (target == own or target.startswith(f"{own}:")) and spec.name.startswith(beginning):
            return reason
    return "its quantizer has no such form"


def require_support(target: str, spec: QuantSpec) -> None:
    """Make sure that a target can do a recipe.

    Raises:
        UnsupportedRecipeError: It cannot; the remedy lists what it can.
    """
    reason = refusal(target, spec)
    if reason:
        raise UnsupportedRecipeError(target, spec.name, _row(target), reason)
