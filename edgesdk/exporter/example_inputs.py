"""Example arrays of a model whose inputs are known by their shapes alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from edgesdk.frontend.random_inputs import random_inputs
from edgesdk.spec import TensorSpec
from edgesdk.video.styles import find_style_input, style_vector

__all__ = ["example_arrays", "single_styles"]


def example_arrays(model: nn.Module, specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Random inputs that the model can make sense of.

    Args:
        model: One that blends styles, which it says by an attribute ``style_names`` even where that
            is empty, gets an even blend of them: weights of any sign and sum are far from all it
            was made for, and its rounding errors with them.
        specs: Its inputs.

    Returns:
        By input name; the same every time.
    """
    arrays = random_inputs(specs, seed=0)
    styles = find_style_input(specs) if hasattr(model, "style_names") else None
    if styles is not None:
        even = styles.array(style_vector(styles.count, weights=np.ones(styles.count)))
        shape = arrays[styles.name].shape
        arrays[styles.name] = np.array(np.broadcast_to(even, shape))
    return arrays


def single_styles(model: nn.Module, specs: Sequence[TensorSpec]) -> list[dict[str, np.ndarray]]:
    """Every style of a model by itself.

    Args:
        model: Any; see :func:`example_arrays`.
        specs: Its inputs.

    Returns:
        The array of the style input by its name, once a style, in their order; empty for a model
        that blends none.
    """
    styles = find_style_input(specs) if hasattr(model, "style_names") else None
    if styles is None:
        return []
    shape = next(spec.shape for spec in specs if spec.name == styles.name)
    single = (styles.array(style_vector(styles.count, style)) for style in range(styles.count))
    return [{styles.name: np.array(np.broadcast_to(array, shape))} for array in single]
