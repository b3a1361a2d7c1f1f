"""Dynamic quantization: integer operators that measure the range of their input at run time.

ONNX Runtime's own dynamic quantizer uses one scale for all weights of a convolution. Its integer
operators leave scaling to the graph, so a scale per output channel is free: the integer result is
multiplied by the input's scale times a vector. Weights are ``uint8`` with zero point 128, because
products of ``uint8`` and ``int8`` overflow 16 bits on x86 processors without VNNI.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgesdk.quant.onnx.graph import OnnxGraph, attribute
from edgesdk.quant.onnx.layers import OnnxLayer
from edgesdk.quant.onnx.rows import from_rows
from edgesdk.quant.onnx.weights import RoundedWeights, WeightStore
from edgesdk.quant.rounding import RoundedRows

__all__ = ["make_dynamic"]

#: ``TensorProto.UINT8``.
_UINT8 = 2


def make_dynamic(
    graph: OnnxGraph, layers: Iterable[OnnxLayer], rounded: RoundedWeights
) -> dict[str, str]:
    """Replace layers by integer operators.

    Args:
        graph: Model, changed in place.
        layers: Layers to quantize.
        rounded: Rounded weights of the layers.

    Returns:
        Reasons for layers that compute in floats with quantized weights, by node name.
    """
    writer = _Writer(graph)
    store = WeightStore(graph)
    reasons: dict[str, str] = {}
    replaced: dict[str, list[Any]] = {}
    for layer in layers:
        rows, bits = rounded.rows[layer.node], rounded.bits[layer.node]
        node = writer.nodes[layer.node]
        reason = _float_reason(layer, node)
        if reason:
            store.put(layer, rows, bits)
            reasons[layer.node] = reason
        else:
            replaced[layer.node] = writer.integer(layer, node, rows, bits)
    graph.replace(replaced)
    return reasons


def _float_reason(layer: OnnxLayer, node: Any) -> str:
    if layer.kind in ("ConvTranspose", "Gather"):
        return f"ONNX Runtime has no integer {layer.kind}; only the weights are quantized"
    if layer.operator == "depthwise":
        # Measured: the integer form, a matrix product per channel, is several times slower.
        return "ONNX Runtime's depthwise layers are faster in float; only the weights are quantized"
    if layer.slot != 1 or len(layer.shape) < 2 or attribute(node, "transA", 0):
        return "constant left factors have no integer kernel; only the weights are quantized"
    if layer.kind == "MatMul" and len(layer.shape) != 2:
        return "batched matrices have no integer kernel; only the weights are quantized"
    return ""


class _Writer:
    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph
        self.nodes = {node.name: node for node in graph.graph.node}
        self._measured: dict[str, tuple[str, str, str]] = {}
        self._stored: dict[tuple[str, int], tuple[str, str]] = {}

    def integer(self, layer: OnnxLayer, node: Any, rows: RoundedRows, bits: int) -> list[Any]:
        """Return the nodes that replace a layer; the multiplying node keeps its name."""
        graph, base = self._graph, layer.weight
        convolution = layer.kind == "Conv"
        added, (numbers, scale, zero) = self._measure(node)
        spread = [1, -1, *[1] * (len(layer.shape) - 2)] if convolution else [-1]
        alpha = float(attribute(node, "alpha", 1.0)) if layer.kind == "Gemm" else 1.0
        added += self._weights(layer, rows, bits)
        integers, middle = self._stored[layer.weight, layer.axis]
        product = graph.fresh(f"{node.output[0]}_integers")
        kept = [
            entry
            for entry in node.attribute
            if entry.name in ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
        ]
        multiply = graph.node(
            "ConvInteger" if convolution else "MatMulInteger",
            [numbers, integers, zero, middle],
            product,
            name=f"{layer.node}_integer",
        )
        multiply.name = layer.node
        multiply.attribute.extend(kept if convolution else [])
        multiply.metadata_props.extend(node.metadata_props)
        added.append(multiply)
        channel = graph.constant(
            f"{base}_scale", (rows.scales * np.float32(alpha)).astype(np.float32).reshape(spread)
        )
        both, floats = graph.fresh(f"{base}_both_scales"), graph.fresh(f"{product}_cast")
        bias = node.input[2] if len(node.input) > 2 else ""
        scaled = graph.fresh(f"{node.output[0]}_scaled") if bias else node.output[0]
        added += [
            graph.node("Cast", [product], floats, name=f"{layer.node}_cast", to=1),
            graph.node("Mul", [scale, channel], both, name=f"{layer.node}_scales"),
            graph.node("Mul", [floats, both], scaled, name=f"{layer.node}_scaling"),
        ]
        if bias:
            added += self._add_bias(layer, node, scaled, bias, spread)
        return added

    def _measure(self, node: Any) -> tuple[list[Any], tuple[str, str, str]]:
        """Add the quantization of a node's input, once for all its users."""
        name = node.input[0]
        if name in self._measured:
            return [], self._measured[name]
        graph = self._graph
        results = tuple(
            graph.fresh(f"{name}_{part}") for part in ("quantized", "scale", "zero_point")
        )
        self._measured[name] = (results[0], results[1], results[2])
        return [
            graph.node("DynamicQuantizeLinear", [name], results, name=f"{name}_quantize")
        ], self._measured[name]

    def _weights(self, layer: OnnxLayer, rows: RoundedRows, bits: int) -> list[Any]:
        """Store the weights, once for all layers that share them."""
        key = (layer.weight, layer.axis)
        if key in self._stored:
            return []
        graph, base = self._graph, layer.weight
        middle = 2 ** (bits - 1)
        numbers = from_rows((rows.integers.astype(np.int16) + middle).astype(np.uint8), layer)
        if layer.kind == "Gemm" and layer.axis == 0:
            numbers = np.ascontiguousarray(numbers.T)
        name = graph.constant(f"{base}_quantized", numbers, bits=bits)
        added = []
        if bits < 8:
            wide = graph.fresh(f"{base}_wide")
            # ONNX Runtime folds this at load, so the kernel gets bytes.
            added.append(graph.node("Cast", [name], wide, name=f"{base}_widening", to=_UINT8))
            name = wide
        zero_point = graph.constant(f"{base}_zero_point", np.asarray(middle, np.uint8))
        self._stored[key] = (name, zero_point)
        return added

    def _add_bias(
        self, layer: OnnxLayer, node: Any, scaled: str, bias: str, spread: list[int]
    ) -> list[Any]:
        graph = self._graph
        added = []
        beta = float(attribute(node, "beta", 1.0)) if layer.kind == "Gemm" else 1.0
        if graph.is_constant(bias):
            values = graph.array(bias) * np.float32(beta)
            shaped = values.reshape(spread) if layer.kind == "Conv" else values
            term = graph.constant(f"{layer.weight}_bias", shaped.astype(np.float32))
        else:
            term = bias
            if layer.kind == "Conv":
                term = graph.fresh(f"{bias}_spread")
                shape = graph.constant(f"{bias}_shape", np.asarray(spread, np.int64))
                added.append(
                    graph.node("Reshape", [bias, shape], term, name=f"{layer.node}_reshape")
                )
            elif beta != 1.0:
                term = graph.fresh(f"{bias}_times_beta")
                factor = graph.constant(f"{bias}_beta", np.asarray(beta, np.float32))
                added.append(graph.node("Mul", [bias, factor], term, name=f"{layer.node}_beta"))
        added.append(graph.node("Add", [scaled, term], node.output[0], name=f"{layer.node}_bias"))
        return added
