"""Programs in half precision with single-precision inputs and outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgesdk.quant.layer_names import layer_path
from edgesdk.quant.plan import QuantPlan
from edgesdk.quant.pt2e.folding import constant_of, folded_module, store_constant

__all__ = ["half_module"]

_cast = torch.ops.aten._to_copy.default
_LARGEST = torch.finfo(torch.float16).max


def half_module(plan: QuantPlan) -> GraphModule:
    """Convert weights and arithmetic of a plan's program to half precision.

    Layers that the recipe keeps float stay in single precision. Weights beyond the range of half
    precision are clipped to it.
    """
    module = folded_module(plan.program)
    graph = module.graph
    kept = {
        node
        for node in graph.nodes
        if node.op == "call_function" and plan.spec.keeps_float(layer_path(node))
    }
    narrow: dict[Node, Node] = {}
    for node in list(graph.nodes):
        if node.op == "placeholder" and _is_single(node):
            narrow[node] = _after(module, node, torch.float16)
        elif node.op == "get_attr" and _is_single(node):
            _narrow_constant(module, node, kept)
        elif node.op == "call_function" and node not in kept:
            node.args = _narrowed(node.args)
            node.kwargs = _narrowed(node.kwargs)
    for node, half in narrow.items():
        node.replace_all_uses_with(half, lambda user, half=half: user is not half)
    for node in kept:
        _keep(module, node)
    (output,) = (node for node in graph.nodes if node.op == "output")
    for node in dict.fromkeys(output.all_input_nodes):
        if _is_single(node) and node.op == "call_function":
            with graph.inserting_before(output):
                single = graph.call_function(_cast, (node,), {"dtype": torch.float32})
            output.replace_input_with(node, single)
    graph.lint()
    module.recompile()
    return module


def _is_single(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32


def _after(module: GraphModule, node: Node, dtype: torch.dtype) -> Node:
    with module.graph.inserting_after(node):
        return module.graph.call_function(_cast, (node,), {"dtype": dtype})


def _narrow_constant(module: GraphModule, node: Node, kept: set[Node]) -> None:
    value = constant_of(module, node)
    users = [user for user in node.users if user not in kept]
    if value is None or not users:
        return
    first = next(item for item in module.graph.nodes if item in users)
    half = value.clamp(-_LARGEST, _LARGEST).half()
    stored = store_constant(module, first, f"{node.target}_half", half, node)
    for user in users:
        user.replace_input_with(node, stored)


def _narrowed(value: Any) -> Any:
    if value is torch.float32:
        return torch.float16
    if isinstance(value, (list, tuple)):
        return type(value)(_narrowed(item) for item in value)
    if isinstance(value, dict):
        return {key: _narrowed(item) for key, item in value.items()}
    return value


def _keep(module: GraphModule, node: Node) -> None:
    """Surround an operator by casts to and from single precision."""
    for source in dict.fromkeys(node.all_input_nodes):
        if source.op != "get_attr" and (_is_single(source) or source.target is _cast):
            with module.graph.inserting_before(node):
                single = module.graph.call_function(_cast, (source,), {"dtype": torch.float32})
            node.replace_input_with(source, single)
    if _is_single(node):
        half = _after(module, node, torch.float16)
        node.replace_all_uses_with(half, lambda user: user is not half)
