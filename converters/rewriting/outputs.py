"""Outputs that are an input, or another output once more, as tensors of their own."""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting.surgery import Surgery, functional

__all__ = ["separate_outputs"]

_REASON = "the target writes every output to a place of its own"


def _same_values(x: Tensor) -> Tensor:
    """The same values by an operator that no converter takes for nothing."""
    return torch.logical_and(x, x) if x.dtype == torch.bool else x * 1


def _source(node: fx.Node) -> fx.Node:
    """The tensor whose values a node has, where it copies or renames it only."""
    while node.op == "call_function" and str(node.target) in (
        "aten.clone.default",
        "aten.alias.default",
        "aten.detach.default",
    ):
        node = node.all_input_nodes[0]
    return node


def separate_outputs(
    program: ExportedProgram, *, from_inputs: bool, from_each_other: bool
) -> tuple[ExportedProgram, tuple[Rewrite, ...]]:
    """Give outputs tensors of their own.

    Args:
        program: Not changed.
        from_inputs: Do so for outputs that are inputs.
        from_each_other: Do so for outputs that are another output once more.

    Returns:
        The program itself where every output has one, else a copy; and the rewrites made.
    """
    given, program = program, functional(program)
    signature = program.graph_signature
    user = {s.arg.name for s in signature.input_specs if s.kind == InputKind.USER_INPUT}
    values = _outputs(program.graph).args[0]
    seen: set[str] = set()
    shared = []
    for index, value in enumerate(values):
        if not isinstance(value, fx.Node):
            continue
        source = _source(value).name
        if (from_inputs and source in user) or (from_each_other and source in seen):
            shared.append(index)
        seen.add(source)
    if not shared:
        return given, ()
    surgery = Surgery(program)
    end = _outputs(surgery.graph)
    results = list(end.args[0])
    made = []
    for index in shared:
        source_node = _source(results[index])
        results[index] = surgery.insert(end, _same_values, [source_node], source_node.meta)
        made.append(Rewrite(f"output {index + 1}", "", "", _REASON))
    end.args = (tuple(results),)
    return surgery.finished(), tuple(made)


def _outputs(graph: fx.Graph) -> fx.Node:
    return next(node for node in reversed(graph.nodes) if node.op == "output")
