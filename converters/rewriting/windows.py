"""Reductions over the windows of two axes, without the tensor that holds every window.

``x.unfold(2, 3, 2).unfold(3, 3, 2).std((-1, -2))`` has two axes more than the picture, more than
Core ML takes. Side by side along one axis, the same values have one axis more.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting.layout import places
from edgesdk.converters.rewriting.surgery import Surgery
from edgesdk.frontend.provenance import module_path, where

__all__ = ["reduce_windows"]

_REASON = "Core ML takes tensors of at most five axes"
_MOST_AXES = 5
_UNFOLD = "aten.unfold.default"
# Reductions with the axes as their second argument.
_REDUCTIONS = frozenset(
    f"aten.{name}"
    for name in (
        "amax.default",
        "amin.default",
        "mean.dim",
        "std.correction",
        "std.dim",
        "sum.dim_IntList",
        "var.correction",
        "var.dim",
    )
)


def reduce_windows(program: ExportedProgram) -> tuple[ExportedProgram, tuple[Rewrite, ...]]:
    """Reduce windows side by side where the tensor of all windows has too many axes.

    Args:
        program: Not changed.

    Returns:
        The program itself where there is no such reduction, else a copy; and the rewrites made.
    """
    if not any(_reduces_windows(node) for node in program.graph.nodes):
        return program, ()
    surgery = Surgery(program)
    made = []
    for node in [node for node in surgery.graph.nodes if _reduces_windows(node)]:
        name = ".".join(str(node.target).split(".")[:2])
        stack = node.meta.get("nn_module_stack")
        made.append(Rewrite(name, module_path(stack), where(node), _REASON))
        second = node.args[0]
        first = second.args[0]
        result = surgery.insert(node, _Reduction(node, first, second), [first.args[0]], node.meta)
        surgery.substitute(node, result)
    return surgery.finished(), tuple(made)


class _Reduction:
    """The reduction as a function of the picture."""

    def __init__(self, node: fx.Node, first: fx.Node, second: fx.Node) -> None:
        self._reduce = node.target
        self._rest, self._options = node.args[2:], dict(node.kwargs)
        self._first, self._second = first.args[1:], second.args[1:]

    def __call__(self, x: Tensor) -> Tensor:
        slices = [
            inner for outer in places(x, *self._first) for inner in places(outer, *self._second)
        ]
        return self._reduce(torch.stack(slices, dim=-1), [-1], *self._rest, **self._options)


def _reduces_windows(node: fx.Node) -> bool:
    if node.op != "call_function" or str(node.target) not in _REDUCTIONS or len(node.args) < 2:
        return False
    second = node.args[0]
    if not _unfolds(second):
        return False
    first = second.args[0]
    if not _unfolds(first):
        return False
    picture = first.args[0].meta["val"]
    rank = picture.dim() + 2
    fixed = all(isinstance(size, int) for size in picture.shape)
    axes = {axis % rank for axis in node.args[1]} if isinstance(node.args[1], list | tuple) else ()
    kept = node.kwargs.get("keepdim") or True in node.args[2:]
    inside = second.args[1] % (rank - 1) < picture.dim()
    return bool(
        rank > _MOST_AXES and fixed and inside and not kept and axes == {rank - 2, rank - 1}
    )


def _unfolds(node: object) -> bool:
    return isinstance(node, fx.Node) and str(node.target) == _UNFOLD
