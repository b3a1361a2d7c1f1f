"""Example weights of the styles that a model blends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgesdk.spec import TensorSpec
from edgesdk.video.styles import find_style_input, style_vector

__all__ = ["even_styles", "single_styles"]


def even_styles(specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Return equal weights of all styles.

    Random weights lie far from a stylizer's training, and so do the rounding errors they cause.

    Args:
        specs: Inputs of a model that blends styles.

    Returns:
        The array of the style input by its name; empty if there is none.
    """
    styles = find_style_input(specs)
    if styles is None:
        return {}
    even = styles.array(style_vector(styles.count, weights=np.ones(styles.count)))
    return {styles.name: np.array(np.broadcast_to(even, _shape(specs, styles.name)))}


def single_styles(specs: Sequence[TensorSpec]) -> list[dict[str, np.ndarray]]:
    """Return the weights that select each style by itself.

    Args:
        specs: Inputs of a model that blends styles.

    Returns:
        One dictionary per style with the array of the style input; empty if there is none.
    """
    styles = find_style_input(specs)
    if styles is None:
        return []
    shape = _shape(specs, styles.name)
    single = (styles.array(style_vector(styles.count, style)) for style in range(styles.count))
    return [{styles.name: np.array(np.broadcast_to(array, shape))} for array in single]


def _shape(specs: Sequence[TensorSpec], name: str) -> tuple[int, ...]:
    return next(spec.shape for spec in specs if spec.name == name)
