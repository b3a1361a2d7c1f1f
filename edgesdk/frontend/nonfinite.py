"""Find the operator that makes a model's NaN or infinity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from edgesdk.errors import ModelOutputError
from edgesdk.frontend.provenance import where

__all__ = ["first_not_finite"]


def first_not_finite(
    program: torch.export.ExportedProgram, inputs: Mapping[str, np.ndarray]
) -> ModelOutputError:
    """Find the first operator whose NaN or infinity reaches an output.

    An infinity that does not reach an output is ignored: attention masks scores with -inf, and
    softmax turns it into 0.

    Args:
        program: The captured program.
        inputs: A sample with a non-finite output, in the order of the program's inputs.

    Returns:
        The error to raise, with the operator and the line in the user's model.
    """
    watch = _Watch(program.module(check_guards=False))
    # Copies: a program may write into its inputs.
    tensors = [torch.from_numpy(np.array(array, order="C")) for array in inputs.values()]
    with torch.inference_mode():
        watch.run(*tensors)
    node = _origin(watch.not_finite)
    return ModelOutputError(
        "the model returns NaN or infinity"
        + (f"; {node.target} makes the first one" if node is not None else ""),
        where=where(node) or None if node is not None else None,
        remedy="check the weights and the input range; a logarithm or division may need a floor",
    )


class _Watch(torch.fx.Interpreter):
    """Run a program and record the nodes with non-finite values, in execution order."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.not_finite: dict[torch.fx.Node, None] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        for leaf in pytree.tree_leaves(value):
            floating = isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
            if floating and not bool(torch.isfinite(leaf).all()):
                self.not_finite[n] = None
        return value


def _origin(not_finite: Mapping[torch.fx.Node, None]) -> torch.fx.Node | None:
    """Return the earliest operator whose non-finite values reach the output."""
    reached: set[torch.fx.Node] = set()
    waiting = [node for node in not_finite if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting += [given for given in node.all_input_nodes if given in not_finite]
    return next((n for n in not_finite if n in reached and n.op == "call_function"), None)
