"""Operators with constant weights, read from a graph with explicit quantization."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from edgesdk.frontend.provenance import is_preprocessing
from edgesdk.quant.layer_names import layer_path
from edgesdk.quant.plan import QuantizedLayer
from edgesdk.quant.pt2e.folding import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    constant_of,
    store_constant,
)

__all__ = [
    "WeightedNode",
    "float_operators",
    "is_depthwise",
    "quantized_layers",
    "replace_weight",
    "weight_names",
    "weighted_nodes",
]

_aten = torch.ops.aten

#: Position of the weight among the arguments.
_WEIGHT = {
    **dict.fromkeys((*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS), 1),
    _aten.linear.default: 1,
    _aten.matmul.default: 1,
    _aten.mm.default: 1,
    _aten.bmm.default: 1,
    _aten.addmm.default: 2,
    _aten.embedding.default: 0,
}
_DEQUANTIZED = "dequantize"
#: Operators that pass integers through, or need no kernel.
_MOVING = re.compile(
    r"alias|chunk|clone|contiguous|detach|dropout|expand|flatten|getitem|pad|permute|reshape|repeat"
    r"|select|slice|split|squeeze|stack|sym_|tile|transpose|unbind|unfold|view|_assert"
)


@dataclass(frozen=True)
class WeightedNode:
    """One operator with constant weights.

    Attributes:
        node: The operator.
        path: Path of its module.
        operator: Name; ``depthwise`` for depthwise convolutions.
        shape: Shape of the weights in the operator's layout.
        bits: Bits of a weight.
        activation_bits: Bits of its input.
    """

    node: Node
    path: str
    operator: str
    shape: tuple[int, ...]
    bits: int
    activation_bits: int

    @property
    def weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


def is_depthwise(node: Node, shape: Sequence[int]) -> bool:
    """Return True if an operator is a depthwise convolution of several channels.

    Args:
        node: Operator.
        shape: Shape of its weights.
    """
    groups = node.args[6] if len(node.args) > 6 else 1
    return node.target in CONVOLUTIONS and groups != 1 and shape[1] == 1


def _float_bits(value: Any) -> int:
    return (
        16 if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16) else 32
    )


def _stored(module: GraphModule, node: Any) -> tuple[Tensor | None, int]:
    """Return the constant behind a weight argument, dequantized or not, and its bits."""
    bits = 0
    while isinstance(node, Node) and node.op == "call_function" and node.args:
        name = str(node.target)
        if _DEQUANTIZED in name:
            limits = _limits(node)
            bits = math.ceil(math.log2(limits[1] - limits[0] + 1))
        elif not _moves(node):
            return None, 0
        node = node.args[0]
    value = constant_of(module, node)
    if value is None or not (bits or value.is_floating_point()):
        return None, 0
    return value, bits or _float_bits(value)


def _limits(node: Node) -> tuple[int, int]:
    """Return the smallest and the largest integer of a dequantize operator."""
    named = {item.name: place for place, item in enumerate(node.target._schema.arguments)}
    low, high = (node.args[named[name]] for name in ("quant_min", "quant_max"))
    return int(low), int(high)


def weighted_nodes(module: GraphModule) -> Iterator[WeightedNode]:
    """Yield the operators with constant weights, in the order of the program."""
    for node in module.graph.nodes:
        place = _WEIGHT.get(node.target) if node.op == "call_function" else None
        if place is None or len(node.args) <= place:
            continue
        weight, bits = _stored(module, node.args[place])
        if weight is None or weight.dim() < 2:
            continue
        source = node.args[1 if place == 0 else (1 if place == 2 else 0)]
        quantized = bits < 16 and isinstance(source, Node) and _DEQUANTIZED in str(source.target)
        value = source.meta.get("val") if isinstance(source, Node) else None
        yield WeightedNode(
            node=node,
            path=layer_path(node),
            operator="depthwise" if is_depthwise(node, weight.shape) else _name(node),
            shape=tuple(weight.shape),
            bits=bits,
            activation_bits=8 if quantized else (bits if bits >= 16 else _float_bits(value)),
        )


def weight_names(program: ExportedProgram) -> list[str]:
    """Return the names of a program's weight inputs, in the order of :func:`weighted_nodes`.

    Args:
        program: Program exported from the graph module.
    """
    stored = {**program.graph_signature.inputs_to_parameters}
    stored.update(program.graph_signature.inputs_to_buffers)
    stored.update(program.graph_signature.inputs_to_lifted_tensor_constants)
    names = []
    for node in program.graph.nodes:
        place = _WEIGHT.get(node.target) if node.op == "call_function" else None
        if place is None or len(node.args) <= place:
            continue
        source: Any = node.args[place]
        quantized = False
        while isinstance(source, Node) and source.op == "call_function" and source.args:
            quantized |= _DEQUANTIZED in str(source.target)
            if not (quantized or _moves(source)):
                break
            source = source.args[0]
        if not isinstance(source, Node) or source.name not in stored:
            continue
        value = source.meta["val"]
        if value.dim() >= 2 and (quantized or value.is_floating_point()):
            names.append(source.name)
    return names


def replace_weight(module: GraphModule, layer: WeightedNode, values: np.ndarray) -> None:
    """Replace the weights of a layer by floats.

    Args:
        module: Graph of the layer; the caller recompiles it.
        layer: Layer.
        values: Weights in the layer's shape.
    """
    place = _WEIGHT[layer.node.target]
    like: Any = layer.node.args[place]
    value = torch.from_numpy(np.array(values, np.float32))
    layer.node.update_arg(place, store_constant(module, layer.node, "decoded", value, like))


def _moves(node: Node) -> bool:
    return any(word in str(node.target) for word in ("permute", "view", "transpose", "_to", "to."))


def _name(node: Node) -> str:
    return str(node.target).removeprefix("aten.").split(".")[0]


def quantized_layers(module: GraphModule, reasons: Mapping[str, str]) -> tuple[QuantizedLayer, ...]:
    """Describe the quantization of the layers of a graph.

    Args:
        module: Graph with explicit quantization.
        reasons: Reasons for nodes that stayed float, by name.
    """
    return tuple(
        QuantizedLayer(
            path=layer.path,
            operator=layer.operator,
            weights=layer.weights,
            bits=layer.bits,
            activation_bits=layer.activation_bits,
            reason=reasons.get(layer.node.name, "") if layer.bits >= 16 else "",
        )
        for layer in weighted_nodes(module)
    )


def float_operators(module: GraphModule) -> dict[str, int]:
    """Count the operators of an annotated graph that stay float, by name.

    Layers with weights are reported elsewhere. Operators that only move values, and those of the
    SDK's preprocessing, do not count.
    """
    found: Counter[str] = Counter()
    for node in module.graph.nodes:
        if node.op != "call_function" or node.target in _WEIGHT:
            continue
        if _MOVING.search(_name(node)) or not isinstance(node.meta.get("val"), Tensor):
            continue
        if is_preprocessing(node.meta.get("nn_module_stack")):
            continue
        annotation = node.meta.get(Q_ANNOTATION_KEY)
        quantized = annotation is not None and (
            annotation.input_qspec_map or annotation.output_qspec is not None
        )
        if not quantized and node.meta["val"].is_floating_point():
            found[_name(node)] += 1
    return dict(sorted(found.items()))
