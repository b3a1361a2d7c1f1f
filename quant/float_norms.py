"""Normalizations by the statistics of their own input, which stay float in static recipes.

Instance normalization written out (Ulyanov et al., arXiv:1607.08022) centers each channel, squares
it, and divides by the root of the mean. If channels differ by a factor of 10, their squares differ
by 100: with one 8-bit range for all, the variance of small channels rounds to zero, and the
division amplifies the error. Such modules therefore stay float if ranges are fixed.
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

#: Roots of variances.
_ROOTS = frozenset({"rsqrt", "sqrt"})
#: Operators that compute means over positions.
_MEANS = frozenset({"adaptive_avg_pool2d", "avg_pool2d", "mean", "sum"})
#: Operators that compute variances or deviations directly.
_DEVIATIONS = frozenset({"std", "std_mean", "var", "var_mean"})
#: Prefixes of the names of operators with weights.
_LAYERS = ("addmm", "conv", "linear", "matmul", "mm")


def float_norm_modules(program: ExportedProgram) -> tuple[str, ...]:
    """Find the modules that normalize by statistics of their input.

    A module counts if it computes a mean and a root of it, and its layers work on vectors only,
    such as those for the scale and shift of a style. Blocks that also hold convolutions over maps
    do not count: these would stay float too.

    Args:
        program: Float program.

    Returns:
        Distinct module paths in the order of the program, without the model itself.
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
    """Return the recipe with such normalizations kept float, if it is static.

    Args:
        spec: Any recipe.
        program: Program to quantize.
    """
    if not spec.static:
        return spec
    return dataclasses.replace(spec, float_norms=float_norm_modules(program))


def _places(node: Node, name: str) -> int:
    """Return the number of positions at which a layer computes its channels."""
    value = node.meta.get("val")
    shape = getattr(value, "shape", ())
    if len(shape) < 2:
        return 1
    places = shape[2:] if name.startswith("conv") else shape[1:-1]
    # A free size counts as several positions.
    return math.prod(size if isinstance(size, int) else 2 for size in places)


def _takes_mean(root: Node, path: str) -> bool:
    """Return True if the operand of a root is a mean computed in the same module."""
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
