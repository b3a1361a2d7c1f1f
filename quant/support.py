"""Recipes that each target supports, and reasons for the others. Nothing heavy is imported."""

from __future__ import annotations

from edgesdk.errors import UnsupportedRecipeError
from edgesdk.quant.spec import QuantSpec

__all__ = ["refusal", "require_support", "supported_recipes"]

#: Supported recipes by target with variant.
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

#: Reasons for unsupported recipes; the first row with a matching target and name prefix applies.
_REASONS: tuple[tuple[str, str, str], ...] = (
    ("executorch:xnnpack", "palette", "XNNPACK has no kernels for palettes"),
    (
        "executorch:xnnpack",
        "w8_only",
        "XNNPACK has no kernels for quantized weights in float arithmetic",
    ),
    ("executorch:xnnpack", "w4", "XNNPACK has 4-bit kernels for linear layers only"),
    ("executorch:xnnpack", "w8a16", "XNNPACK has no 16-bit kernels"),
    ("executorch", "", "only the XNNPACK variant supports quantized operators"),
    ("coreml", "w8a32_dynamic", "Core ML does not measure ranges at run time"),
    ("coreml", "w4a32_dynamic", "Core ML does not measure ranges at run time"),
    ("litert", "palette", "LiteRT does not support palettes"),
    (
        "litert",
        "w4_only_block",
        "only its fully connected kernels support a scale per block, and these quantize their "
        "input; use w4_only, with a scale per output channel",
    ),
    ("onnx", "palette", "ONNX Runtime does not support palettes"),
)


def _row(target: str) -> tuple[str, ...]:
    return _SUPPORTED.get(target, _SUPPORTED.get(target.partition(":")[0], ()))


def supported_recipes(target: str) -> tuple[str, ...]:
    """Return the names of the recipes that a target supports.

    Args:
        target: Target with variant, such as ``executorch:xnnpack``.
    """
    return _row(target)


def refusal(target: str, spec: QuantSpec) -> str:
    """Return the reason why a target does not support a recipe; empty if it does.

    Args:
        target: Target with variant.
        spec: Recipe.
    """
    if spec.name in _row(target):
        return ""
    for own, beginning, reason in _REASONS:
        if (target == own or target.startswith(f"{own}:")) and spec.name.startswith(beginning):
            return reason
    return "its quantizer does not support this recipe"


def require_support(target: str, spec: QuantSpec) -> None:
    """Check that a target supports a recipe.

    Raises:
        UnsupportedRecipeError: It does not; the remedy lists the supported recipes.
    """
    reason = refusal(target, spec)
    if reason:
        raise UnsupportedRecipeError(target, spec.name, _row(target), reason)
