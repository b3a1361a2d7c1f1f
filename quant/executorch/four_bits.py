"""4-bit linear layers and 1x1 convolutions for XNNPACK.

XNNPACK has 4-bit kernels for linear layers only, with a scale for every 32 inputs. A 1x1
convolution is a linear layer over channels with space flattened to one dimension; inputs are padded
with zeros to a multiple of 32.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
import torchao.quantization  # noqa: F401 - registers its operators
from torch.fx import GraphModule, Node

from edgesdk.quant.plan import QuantPlan
from edgesdk.quant.pt2e.folding import constant_of, store_constant
from edgesdk.quant.pt2e.layers import weighted_nodes
from edgesdk.quant.pt2e.rounded_module import WeightPrecision, round_module
from edgesdk.quant.rounding import RoundedRows

__all__ = ["BLOCK", "rewrite_linear"]

_aten, _ao = torch.ops.aten, torch.ops.torchao

#: Inputs per scale, the size that the fastest kernels need.
BLOCK = 32
_LOWEST, _HIGHEST = -8, 7


def rewrite_linear(plan: QuantPlan, module: GraphModule) -> set[str]:
    """Convert linear layers of a folded graph to 4-bit weights with dynamic inputs.

    Args:
        plan: Quantization plan; its calibration samples, if any, improve rounding.
        module: Graph, changed in place.

    Returns:
        Names of the new linear operators.
    """
    chosen = [
        layer.node
        for layer in weighted_nodes(module)
        if not plan.spec.keeps_float(layer.path)
        and layer.bits == 32
        and (layer.node.target is _aten.linear.default or _is_pointwise(module, layer.node))
    ]
    fine = WeightPrecision(4, BLOCK)
    rounded = round_module(plan, module, {node.name: fine for node in chosen})
    changed = {_rewrite(module, node, rounded[node.name]) for node in chosen}
    for node in module.graph.nodes:
        # Unlike the convolution, the linear layer returns channels last.
        if node.target is _aten.view.default:
            node.target = _aten.reshape.default
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    return changed


def _is_pointwise(module: GraphModule, node: Node) -> bool:
    if node.target is not _aten.conv2d.default:
        return False
    weight = constant_of(module, node.args[1])
    given = dict(zip(("strides", "padding", "dilation", "groups"), node.args[3:], strict=False))
    strides, padding = given.get("strides", 1), given.get("padding", 0)
    groups = given.get("groups", 1)
    fixed = all(isinstance(size, int) for size in node.meta["val"].shape[2:])
    plain = fixed and groups == 1 and set(_listed(strides)) == {1} and set(_listed(padding)) == {0}
    return plain and weight is not None and tuple(weight.shape[2:]) == (1, 1)


def _listed(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _rewrite(module: GraphModule, node: Node, rows: RoundedRows) -> str:
    graph = module.graph
    origin = {key: node.meta[key] for key in ("nn_module_stack", "stack_trace") if key in node.meta}
    spatial = node.target is not _aten.linear.default
    inputs = rows.integers.shape[1]
    missing = -inputs % BLOCK
    integers = torch.nn.functional.pad(torch.from_numpy(rows.integers), (0, missing))
    # Kernels store scales in bfloat16.
    scales = torch.from_numpy(rows.scales).bfloat16().float()
    name = str(node.args[1].target)
    stored = [
        store_constant(module, node, f"{name}_{part}", value, node.args[1])
        for part, value in (
            ("int4", integers),
            ("scale", scales),
            ("zero", torch.zeros_like(scales, dtype=torch.int8)),
        )
    ]
    created: list[Node] = []

    def call(target: Any, *args: Any) -> Node:
        created.append(graph.call_function(target, args))
        return created[-1]

    source: Any = node.args[0]
    shape = node.meta["val"].shape
    taken = source.meta["val"].shape
    with graph.inserting_before(node):
        if spatial:
            # Only a view makes ExecuTorch undo channels last.
            source = call(_aten.flatten.using_ints, source, 2)
            source = call(_aten.permute.default, source, [0, 2, 1])
        if missing:
            source = call(_aten.constant_pad_nd.default, source, [0, missing], 0.0)
        rank = 3 if spatial else len(taken)
        row = [*[1] * (rank - 1), inputs + missing]
        limits = (torch.int8, -128, 127)
        measured = call(
            _ao.choose_qparams_affine.default,
            *(source, "ASYMMETRIC", row, *limits, None, None, torch.int8),
        )
        scale, zero = (call(operator.getitem, measured, place) for place in (0, 1))
        quantized = call(_ao.quantize_affine.default, source, row, scale, zero, *limits)
        decoded = call(_ao.dequantize_affine.default, quantized, row, scale, zero, *limits)
        matrix = call(
            _ao.dequantize_affine.default,
            *(stored[0], [1, BLOCK], stored[1], stored[2], torch.int8, _LOWEST, _HIGHEST),
        )
        bias = node.args[2] if len(node.args) > 2 else None
        linear = result = call(_aten.linear.default, decoded, matrix, bias)
        if spatial:
            result = call(_aten.permute.default, result, [0, 2, 1])
            result = call(_aten.unflatten.int, result, 2, list(shape[2:]))
    for new in created:
        new.meta.update(origin)
    result.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(result)
    graph.erase_node(node)
    return str(linear.name)
