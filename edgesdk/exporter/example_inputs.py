"""Example arrays of a model whose inputs are known by shape only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from edgesdk.frontend.random_inputs import random_inputs
from edgesdk.spec import TensorSpec
from edgesdk.video.styles import find_style_input, style_vector

__all__ = ["example_arrays", "single_styles"]


def example_arrays(model: nn.Module, specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Return random inputs in the range that the model expects.

    Args:
        model: A model with an attribute ``style_names``, even an empty one, blends styles and gets
            equal weights of all: random weights lie far from its training, and so do the rounding
            errors they cause.
        specs: Inputs of the model.

    Returns:
        Arrays by input name, the same on every call.
    """
    arrays = random_inputs(specs, seed=0)
    styles = find_style_input(specs) if hasattr(model, "style_names") else None
    if styles is not None:
        even = styles.array(style_vector(styles.count, weights=np.ones(styles.count)))
        shape = arrays[styles.name].shape
        arrays[styles.name] = np.array(np.broadcast_to(even, shape))
    return arrays


def single_styles(model: nn.Module, specs: Sequence[TensorSpec]) -> list[dict[str, np.ndarray]]:
    """Return the weights that select each style of a model by itself.

    Args:
        model: Any model; see :func:`example_arrays`.
        specs: Inputs of the model.

    Returns:
        One dictionary per style with the array of the style input; empty if the model blends none.
    """
    styles = find_style_input(specs) if hasattr(model, "style_names") else None
    if styles is None:
        return []
    shape = next(spec.shape for spec in specs if spec.name == styles.name)
    single = (styles.array(style_vector(styles.count, style)) for style in range(styles.count))
    return [{styles.name: np.array(np.broadcast_to(array, shape))} for array in single]
