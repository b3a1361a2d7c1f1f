"""Normalisations by the moments of their own input, which integers of fixed ranges cannot hold.

Instance normalisation written out (Ulyanov et al., arXiv:1607.08022) centres each channel, squares
it, and divides by the root of the mean. Squares of channels that differ by ten differ by a hundred:
in the 256 steps of one range for all, the variance of the small ones is zero, and the division
blows them up. What such a module computes itself therefore stays float where ranges are fixed.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from edgesdk.quant.layer_names import module_stack, operator_name

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

    from edgesdk.quant.spec import QuantSpec

__all__ = ["float_norm_modules", "with_float_norms"]

#: Roots, which turn variances into deviations.
_ROOTS = frozenset({"rsqrt", "sqrt"})
#: What takes moments over places.
_MEANS = frozenset({"adaptive_avg_pool2d", "avg_pool2d", "mean", "sum"})
#: Both at once.
_DEVIATIONS = frozenset({"std", "std_mean", "var", "var_mean"})
#: Operators with weights, by how their names begin.
_LAYERS = ("addmm", "conv", "linear", "matmul", "mm")


def float_norm_modules(program: ExportedProgram) -> tuple[str, ...]:
    """Module paths of such normalisations.

    A module counts if it takes a mean and a root of it by itself, and what it holds beside that has
    nothing to do with places: layers on vectors, such as those of the scale and shift of a style.
    A whole block that normalises in passing would take its convolutions along.

    Args:
        program: The float program.

    Returns:
        Paths in the order of the program, each once; none for the model as a whole.
    """
    found: dict[str, None] = {}
    on_maps: set[str] = set()
    for node in program.graph.nodes:
        stack = module_stack(node)
        name = operator_name(node)
        if not stack:
            continue
        if name.startswith(_LAYERS) and _places(node, name) > 1:
            on_maps.update(stack)
        elif name in _DEVIATIONS or (name in _ROOTS and _takes_mean(node, stack[-1])):
            found[stack[-1]] = None
    return tuple(path for path in found if path not in on_maps)


def with_float_norms(spec: QuantSpec, program: ExportedProgram) -> QuantSpec:
    """A recipe that leaves such normalisations float, where it fixes ranges.

    Args:
        spec: Any recipe.
        program: What it is for.
    """
    if not spec.static:
        return spec
    return dataclasses.replace(spec, float_norms=float_norm_modules(program))


def _places(node: Node, name: str) -> int:
    """At how many places of a map, or of a sequence, a layer computes its channels."""
    value = node.meta.get("val")
    shape = getattr(value, "shape", ())
    if len(shape) < 2:
        return 1
    places = shape[2:] if name.startswith("conv") else shape[1:-1]
    # A free size is a place too many.
    return math.prod(size if isinstance(size, int) else 2 for size in places)


def _takes_mean(root: Node, path: str) -> bool:
    """Whether a root is taken of a mean within the same module."""
    visited: set[Node] = set()
    waiting = [root]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source in visited or module_stack(source)[-1:] != (path,):
                continue
            if operator_name(source) in _MEANS:
                return True
            visited.add(source)
            waiting.append(source)
    return False
