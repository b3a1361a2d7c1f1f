"""Layers of an ONNX graph (operators with constant weights) and their quantization result."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgesdk.quant.layer_names import layer_path
from edgesdk.quant.onnx.graph import OnnxGraph, attribute
from edgesdk.quant.plan import QuantizedLayer

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["OnnxLayer", "find_layers", "node_paths", "parameter_paths", "read_layers"]

#: Positions of inputs that may be constant weights, by operator.
_WEIGHT_SLOTS = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (1, 0),
    "MatMul": (1, 0),
    "Gather": (0,),
    "ConvInteger": (1,),
    "MatMulInteger": (1, 0),
    "MatMulNBits": (1,),
}
#: Operators that decode or reshape constant weights.
_DECODING = ("Cast", "DequantizeLinear", "Mul", "Reshape", "Slice", "Transpose")


@dataclass(frozen=True)
class OnnxLayer:
    """One operator with constant weights.

    Attributes:
        node: Name of its node.
        kind: ONNX operator, such as ``Conv``.
        path: Module path in the user's model.
        operator: ``conv2d``, ``depthwise``, ``conv_transpose2d``, ``linear`` or ``embedding``.
        weight: Name of the constant.
        slot: Position of the constant among the node's inputs.
        shape: Shape of the constant.
        axis: Axis of the output channels; negative ones count from the end.
        groups: Groups of a convolution, else 1.
    """

    node: str
    kind: str
    path: str
    operator: str
    weight: str
    slot: int
    shape: tuple[int, ...]
    axis: int
    groups: int = 1

    @property
    def weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def fan_in(self) -> int:
        """Number of weights of one output channel."""
        if self.kind == "ConvTranspose":
            return self.weights // (self.shape[1] * self.groups)
        return self.weights // self.shape[self.axis]


def parameter_paths(program: ExportedProgram) -> dict[str, str]:
    """Return the path of the layer that uses each parameter, by the parameter's name."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names.update(signature.inputs_to_lifted_tensor_constants)
    paths: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.op != "placeholder" or node.name not in names:
            continue
        users = [user for user in node.users if user.op == "call_function"]
        if users:
            paths[names[node.name]] = layer_path(users[0])
    return paths


def _scopes(node: Any) -> list[str]:
    """Return the paths of the modules around a node, from the exporter's metadata."""
    noted = {entry.key: entry.value for entry in node.metadata_props}
    try:
        scopes = ast.literal_eval(noted.get("pkg.torch.onnx.name_scopes", "[]"))
    except (ValueError, SyntaxError):
        return []
    # The last entry is the operator itself.
    return [str(scope) for scope in scopes[:-1] if scope] if isinstance(scopes, list) else []


def node_paths(graph: OnnxGraph) -> dict[str, str]:
    """Return the innermost module of each node, by node name; empty if it lies in none."""
    return {node.name: (_scopes(node) or [""])[-1] for node in graph.graph.node}


def find_layers(graph: OnnxGraph, program: ExportedProgram) -> tuple[OnnxLayer, ...]:
    """Find the operators with constant weights of a float model, in order.

    Args:
        graph: Float model.
        program: Program it was converted from; its parameters name the constants.
    """
    parameters = parameter_paths(program)
    found = []
    for node in graph.graph.node:
        for slot in _WEIGHT_SLOTS.get(node.op_type, ()):
            name = node.input[slot]
            if not graph.is_constant(name) or graph.is_integer(name):
                continue
            shape = graph.array(name).shape
            if len(shape) < 2:
                continue
            # With a folded normalization, only the node's metadata name the layer.
            path = parameters.get(name) or (_scopes(node) or [node.name])[-1]
            groups = int(attribute(node, "group", 1))
            found.append(
                OnnxLayer(
                    node.name,
                    node.op_type,
                    path,
                    _operator(node.op_type, shape, groups),
                    name,
                    slot,
                    shape,
                    _output_axis(node, slot, len(shape), groups),
                    groups,
                )
            )
            break
    return tuple(found)


def _operator(kind: str, shape: Sequence[int], groups: int) -> str:
    if kind == "Conv":
        return "depthwise" if groups > 1 and shape[1] == 1 else f"conv{len(shape) - 2}d"
    if kind == "ConvTranspose":
        return f"conv_transpose{len(shape) - 2}d"
    return "embedding" if kind == "Gather" else "linear"


def _output_axis(node: Any, slot: int, rank: int, groups: int) -> int:
    if node.op_type == "ConvTranspose":
        return 0 if groups > 1 else 1
    if node.op_type == "Gemm":
        turned = attribute(node, "transB" if slot == 1 else "transA", 0)
        return (0 if turned else 1) if slot == 1 else (1 if turned else 0)
    if node.op_type == "MatMul":
        return rank - 1 if slot == 1 else rank - 2
    return 0


def read_layers(
    graph: OnnxGraph, layers: Sequence[OnnxLayer], reasons: dict[str, str]
) -> tuple[QuantizedLayer, ...]:
    """Read the quantization of each layer from the quantized model.

    Args:
        graph: Quantized model; its nodes have the names of the float ones they replace.
        layers: Layers of the float model.
        reasons: Reasons for layers that stayed float, by node name.
    """
    producers = graph.producers()
    nodes = {node.name: node for node in graph.graph.node}
    read = []
    for layer in layers:
        node = nodes[layer.node]
        weight = _stored_weight(graph, producers, node)
        bits = graph.bits(weight)
        slot = 0 if layer.slot else 1
        read.append(
            QuantizedLayer(
                path=layer.path,
                operator=layer.operator,
                weights=layer.weights,
                bits=bits,
                activation_bits=_activation_bits(graph, producers, node, slot, bits),
                reason=reasons.get(layer.node, ""),
            )
        )
    return tuple(read)


def _stored_weight(graph: OnnxGraph, producers: dict[str, Any], node: Any) -> str:
    """Return the constant that a node's weights are decoded from."""
    for slot in _WEIGHT_SLOTS[node.op_type]:
        name = str(node.input[slot])
        while not graph.is_constant(name):
            source = producers.get(name)
            if source is None or source.op_type not in _DECODING:
                break
            name = str(source.input[0])
        if graph.is_constant(name):
            return name
    raise LookupError(f"node {node.name!r} has no constant weights")


def _activation_bits(
    graph: OnnxGraph, producers: dict[str, Any], node: Any, slot: int, bits: int
) -> int:
    if node.op_type in ("ConvInteger", "MatMulInteger"):
        return 8
    if not graph.is_integer(_stored_weight(graph, producers, node)):
        # A float layer may follow a quantized one.
        return 16 if bits == 16 else 32
    source = producers.get(node.input[slot])
    if source is not None and source.op_type == "DequantizeLinear" and len(source.input) > 2:
        return graph.bits(source.input[2])
    return 32
