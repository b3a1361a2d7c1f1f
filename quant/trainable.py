"""Recipes of quantization-aware training. Nothing heavy is imported."""

from __future__ import annotations

from edgesdk.errors import UnsupportedRecipeError
from edgesdk.quant.recipes import RECIPES
from edgesdk.quant.spec import QuantSpec

__all__ = ["require_trainable", "trainable_recipes"]


def trainable_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that quantization-aware training supports."""
    return tuple(name for name, spec in RECIPES.items() if not _refusal(spec))


def require_trainable(spec: QuantSpec) -> None:
    """Check that quantization-aware training supports a recipe.

    Raises:
        UnsupportedRecipeError: The recipe does not round weights to integers.
    """
    reason = _refusal(spec)
    if reason:
        raise UnsupportedRecipeError(
            "quantization-aware training", spec.name, trainable_recipes(), reason
        )


def _refusal(spec: QuantSpec) -> str:
    if spec.weights is None:
        return "it does not round to integers"
    if spec.weights.form != "linear":
        return "palettes are fitted after training"
    return ""
