"""Linear layers, and convolutions of a single point, with 4-bit weights for XNNPACK.

XNNPACK multiplies 4-bit weights in linear layers alone, with a scale for every 32 inputs. A
convolution of a single point is a linear layer over channels once space is one dimension; inputs
are filled up with zeros to a multiple of 32.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
import torchao.quantization  # noqa: F401 - registers its operators
from torch import Tensor
from torch.fx import GraphModule, Node

from quant.folding import constant_of, store_constant
from quant.layers import layer_path
from quant.spec import QuantSpec

__all__ = ["BLOCK", "quantize_blocks", "rewrite_linear"]

_aten, _ao = torch.ops.aten, torch.ops.torchao

#: Inputs that share a scale: the only size kernels have at their best.
BLOCK = 32
_LOWEST, _HIGHEST = -8, 7
#: Shares of a block's reach that its scale is tried at.
_SHARES = torch.linspace(0.7, 1.15, 24)


def rewrite_linear(module: GraphModule, spec: QuantSpec) -> set[str]:
    """Give linear layers of a folded graph 4-bit weights, and let them measure their input.

    Args:
        module: Changed in place.
        spec: Says what stays float.

    Returns:
        Names of the new linear operators.
    """
    changed = set()
    for node in list(module.graph.nodes):
        if node.op != "call_function" or spec.keeps_float(layer_path(node)):
            continue
        if node.target is _aten.linear.default or _is_pointwise(module, node):
            weight = constant_of(module, node.args[1])
            if weight is not None and node.meta["val"].dtype is torch.float32:
                changed.add(_rewrite(module, node, weight.reshape(weight.shape[0], -1)))
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


def quantize_blocks(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Integers and scales of a weight ``[outputs, inputs]``, inputs a multiple of :data:`BLOCK`.

    Of several scales each block gets the one with the smallest squared error; kernels hold scales
    as bfloat16, so they are rounded to that first.

    Returns:
        ``int8 [outputs, inputs]`` in -8..7, and ``float32 [outputs, inputs / BLOCK]``.
    """
    blocks = weight.reshape(weight.shape[0], -1, BLOCK)
    reach = blocks.abs().amax(2)
    best = torch.full_like(reach, torch.inf)
    scales = torch.ones_like(reach)
    for share in _SHARES:
        scale = (reach * share / _HIGHEST).bfloat16().float()
        scale = torch.where(scale > 1e-30, scale, torch.ones_like(scale))
        steps = (blocks / scale[..., None]).round().clamp(_LOWEST, _HIGHEST)
        error = ((steps * scale[..., None] - blocks) ** 2).sum(2)
        better = error < best
        scales = torch.where(better, scale, scales)
        best = torch.where(better, error, best)
    steps = (blocks / scales[..., None]).round().clamp(_LOWEST, _HIGHEST)
    return steps.reshape(weight.shape).to(torch.int8), scales


def _rewrite(module: GraphModule, node: Node, weight: Tensor) -> str:
    graph = module.graph
    origin = {key: node.meta[key] for key in ("nn_module_stack", "stack_trace") if key in node.meta}
    spatial = node.target is not _aten.linear.default
    missing = -weight.shape[1] % BLOCK
    integers, scales = quantize_blocks(torch.nn.functional.pad(weight, (0, missing)))
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
            # A view first: it alone makes ExecuTorch turn channels last back.
            source = call(_aten.flatten.using_ints, source, 2)
            source = call(_aten.permute.default, source, [0, 2, 1])
        if missing:
            source = call(_aten.constant_pad_nd.default, source, [0, missing], 0.0)
        rank = 3 if spatial else len(taken)
        row = [*[1] * (rank - 1), weight.shape[1] + missing]
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
