"""Weights that the model computes from other weights, computed once.

Weight norm, spectral norm and weight standardization make their weights anew at every call, from
parameters alone. A target sees a convolution whose weights are no constant, and its delegate or
its quantizer leaves it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting.surgery import Surgery
from edgesdk.frontend.provenance import module_path, where
from edgesdk.frontend.side_effects import written

__all__ = ["fold_parameters"]

_REASON = "the weights depend on no input, so they are computed once"

# Views of a weight cost nothing, and converters fold them.
_FREE = frozenset(
    {
        "alias",
        "chunk",
        "clone",
        "contiguous",
        "detach",
        "expand",
        "expand_as",
        "flatten",
        "narrow",
        "permute",
        "reshape",
        "reshape_as",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "t",
        "to",
        "transpose",
        "unsqueeze",
        "view",
        "view_as",
        "_to_copy",
        "_assert_tensor_metadata",
        "lift_fresh_copy",
    }
)


def fold_parameters(program: ExportedProgram) -> tuple[ExportedProgram, tuple[Rewrite, ...]]:
    """Compute weights that depend on no input.

    Args:
        program: Not changed.

    Returns:
        The program itself where no weight is computed, else a copy; and the rewrites made.
    """
    ends = _computed(program)
    if not ends:
        return program, ()
    surgery = Surgery(program)
    nodes = {node.name: node for node in surgery.graph.nodes}
    made: dict[Rewrite, None] = {}
    for end in ends:
        node = nodes[end.name]
        rewrite = Rewrite(_name(node), _module(node), where(node), _REASON)
        if _fold_with_sources(surgery, node):
            made.setdefault(rewrite)
    return (surgery.finished(), tuple(made)) if made else (program, ())


def _name(node: fx.Node) -> str:
    return ".".join(str(node.target).split(".")[:2])


def _module(node: fx.Node) -> str:
    return module_path(node.meta.get("nn_module_stack"))


def _computed(program: ExportedProgram) -> list[fx.Node]:
    """The last nodes of chains that compute something from parameters alone."""
    signature = program.graph_signature
    changed = {root.name for _, root in written(program.graph)}
    fixed = {
        spec.arg.name
        for spec in signature.input_specs
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER)
        and spec.target not in signature.buffers_to_mutate.values()
        and spec.arg.name not in changed
    }
    costly: dict[fx.Node, bool] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in fixed:
            costly[node] = False
        elif _is_pure(node) and all(other in costly for other in node.all_input_nodes):
            earlier = any(costly[other] for other in node.all_input_nodes)
            costly[node] = earlier or str(node.target).split(".")[1] not in _FREE
    return [
        node
        for node, computes in costly.items()
        if computes and any(user not in costly for user in node.users)
    ]


def _is_pure(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return (
        node.op == "call_function"
        and schema is not None
        and not schema.is_mutable
        and bool(node.all_input_nodes)
        and len(schema.returns) == 1
        and torch.Tag.nondeterministic_seeded not in node.target.tags
    )


def _fold_with_sources(surgery: Surgery, node: fx.Node) -> bool:
    for source in _before(node):
        surgery.fold(source)
    return surgery.fold(node)


def _before(node: fx.Node) -> Iterable[fx.Node]:
    """Everything the node is computed from, first things first."""
    found: dict[fx.Node, None] = {}

    def visit(other: fx.Node) -> None:
        for source in other.all_input_nodes:
            if source.op == "call_function" and source not in found:
                visit(source)
                found[source] = None

    visit(node)
    return list(found)
