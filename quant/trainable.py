"""Which recipes a network can be trained for. Nothing heavy is imported."""

from __future__ import annotations

from edgesdk.errors import UnsupportedRecipeError
from edgesdk.quant.recipes import RECIPES
from edgesdk.quant.spec import QuantSpec

__all__ = ["require_trainable", "trainable_recipes"]


def trainable_recipes() -> tuple[str, ...]:
    """Names of the recipes that quantization-aware training knows."""
    return tuple(name for name, spec in RECIPES.items() if not _refusal(spec))


def require_trainable(spec: QuantSpec) -> None:
    """Make sure that a network can be trained for a recipe.

    Raises:
        UnsupportedRecipeError: Its weights are no integers on a grid.
    """
    reason = _refusal(spec)
    if reason:
        raise UnsupportedRecipeError(
            "quantization-aware training", spec.name, trainable_recipes(), reason
        )


def _refusal(spec: QuantSpec) -> str:
    if spec.weights is None:
        return "it rounds nothing to integers"
    if spec.weights.form != "linear":
        return "a table of weights is fitted after training"
    return ""
