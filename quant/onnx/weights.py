"""Quantized weights of an ONNX model, decoded to floats when the model is loaded.

Integers are decoded by ``Cast``, ``Mul`` and ``Reshape``, not by ``DequantizeLinear``: ONNX Runtime
folds the former into floats once, at load, and uses its fastest float kernels. It leaves
``DequantizeLinear`` in the graph for integer kernels to match, and without such a kernel decodes
the weights in every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgesdk.quant.onnx.calibration import input_moments
from edgesdk.quant.onnx.graph import OnnxGraph, attribute
from edgesdk.quant.onnx.layers import OnnxLayer
from edgesdk.quant.onnx.rows import from_rows, row_scales, to_rows
from edgesdk.quant.plan import Arrays
from edgesdk.quant.rounding import InputMoments, RoundedRows, mean_shift, round_rows
from edgesdk.quant.spec import WeightQuant

__all__ = ["RoundedWeights", "WeightStore", "round_weights", "shift_biases"]

#: Rows of fewer weights keep 8 bits: their scales would cost as much as 4 bits save, and such
#: layers, depthwise ones above all, lose most accuracy with 4 bits.
SHORT_ROW = 32


@dataclass(frozen=True)
class RoundedWeights:
    """Weights of a model's layers as integers.

    Attributes:
        rows: Rounded rows by node name.
        bits: Bits of an integer, by node name.
        shifts: Decrease of each output channel's mean by rounding, by node name; only for layers
            with moments.
    """

    rows: dict[str, RoundedRows] = field(default_factory=dict)
    bits: dict[str, int] = field(default_factory=dict)
    shifts: dict[str, np.ndarray] = field(default_factory=dict)


def round_weights(
    graph: OnnxGraph,
    layers: Sequence[OnnxLayer],
    weights: WeightQuant,
    samples: Sequence[Arrays] = (),
) -> RoundedWeights:
    """Round the weights of layers to integers.

    Args:
        graph: Float model.
        layers: Layers to quantize.
        weights: Bits and granularity.
        samples: Inputs of the model by name; if given, rounding compensates errors.
    """
    moments = input_moments(graph, layers, samples) if samples else {}
    rounded = RoundedWeights()
    shared: dict[tuple[str, int], RoundedRows] = {}
    for layer in layers:
        rows = to_rows(graph.array(layer.weight), layer)
        bits = 8 if weights.bits < 8 and layer.fan_in < SHORT_ROW else weights.bits
        block = weights.block if bits == weights.bits else 0
        known: InputMoments | None = moments.get(layer.node)
        # Layers that share weights share the integers, rounded for the first layer.
        key = (layer.weight, layer.axis)
        if key not in shared:
            shared[key] = round_rows(rows, bits, block, known)
        rounded.rows[layer.node] = shared[key]
        rounded.bits[layer.node] = bits
        if known is not None:
            rounded.shifts[layer.node] = mean_shift(rows, shared[key], known)
    return rounded


def shift_biases(
    graph: OnnxGraph, layers: Sequence[OnnxLayer], shifts: Mapping[str, np.ndarray]
) -> None:
    """Add the shift of the mean that rounding causes to the biases.

    Args:
        graph: Model, changed in place.
        layers: Layers of the model.
        shifts: One number per output channel, by node name.
    """
    nodes = {node.name: node for node in graph.graph.node}
    for layer in layers:
        node = nodes[layer.node]
        shift = shifts.get(layer.node)
        if shift is None or layer.kind not in ("Conv", "Gemm"):
            continue
        bias = node.input[2] if len(node.input) > 2 else ""
        if layer.kind == "Gemm":
            shift = shift * float(attribute(node, "alpha", 1.0))
            if float(attribute(node, "beta", 1.0)) != 1.0:
                continue
        if bias and not graph.is_constant(bias):
            continue
        old = graph.array(bias) if bias else np.float32(0)
        name = graph.constant(f"{layer.weight}_shifted_bias", (old + shift).astype(np.float32))
        if bias:
            node.input[2] = name
        else:
            node.input.append(name)


class WeightStore:
    """Stores rounded weights in a graph and decodes them in front of their layers.

    Args:
        graph: Model, changed in place; :meth:`OnnxGraph.replace` inserts the decoding nodes.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph
        self._nodes = {node.name: node for node in graph.graph.node}
        self._decoded: dict[tuple[str, int], str] = {}

    def put(self, layer: OnnxLayer, rows: RoundedRows, bits: int) -> None:
        """Replace the weights of a layer by rounded ones.

        Args:
            layer: Layer.
            rows: Rounded weights.
            bits: 8, or 4 to store two per byte.
        """
        node = self._nodes[layer.node]
        key = (layer.weight, layer.axis)
        if key not in self._decoded:
            whole = rows.scales.shape[1] == 1
            decode = self._decode_whole if whole else self._decode_blocks
            name, added = decode(layer, rows, bits)
            self._graph.put_before(node, added)
            self._decoded[key] = name
        node.input[layer.slot] = self._decoded[key]

    def _decode_whole(
        self, layer: OnnxLayer, rows: RoundedRows, bits: int
    ) -> tuple[str, list[Any]]:
        graph, base = self._graph, layer.weight
        integers = graph.constant(f"{base}_quantized", from_rows(rows.integers, layer), bits=bits)
        scales = graph.constant(f"{base}_scale", row_scales(rows.scales[:, 0], layer))
        return self._scaled(base, integers, scales)

    def _scaled(self, base: str, integers: str, scales: str) -> tuple[str, list[Any]]:
        graph = self._graph
        floats, decoded = graph.fresh(f"{base}_floats"), graph.fresh(f"{base}_decoded")
        return decoded, [
            graph.node("Cast", [integers], floats, name=f"{base}_cast", to=1),
            graph.node("Mul", [floats, scales], decoded, name=f"{base}_scaling"),
        ]

    def _decode_blocks(
        self, layer: OnnxLayer, rows: RoundedRows, bits: int
    ) -> tuple[str, list[Any]]:
        graph, base = self._graph, layer.weight
        count, inputs = rows.integers.shape
        blocks = rows.scales.shape[1]
        missing = blocks * rows.block - inputs
        padded = np.pad(rows.integers, ((0, 0), (0, missing)))
        integers = graph.constant(
            f"{base}_quantized", padded.reshape(count, blocks, rows.block), bits=bits
        )
        scales = graph.constant(f"{base}_scale", rows.scales[:, :, None])
        name, added = self._scaled(base, integers, scales)

        def step(operator: str, inputs: list[str], **attributes: Any) -> None:
            nonlocal name
            result = graph.fresh(f"{base}_{operator.lower()}")
            added.append(
                graph.node(
                    operator, [name, *inputs], result, name=f"{base}_{operator}", **attributes
                )
            )
            name = result

        def numbers(values: Sequence[int]) -> str:
            return graph.constant(f"{base}_shape", np.asarray(values, np.int64))

        if missing:
            step("Reshape", [numbers([count, blocks * rows.block])])
            step("Slice", [numbers([0]), numbers([inputs]), numbers([1])])
        front, order = _row_layout(layer)
        step("Reshape", [numbers(front)])
        if order != sorted(order):
            step("Transpose", [], perm=order)
            if layer.kind == "ConvTranspose":
                step("Reshape", [numbers(layer.shape)])
        return name, added


def _row_layout(layer: OnnxLayer) -> tuple[list[int], list[int]]:
    """Return the shape of the rows before the permutation of axes, and the permutation."""
    shape = layer.shape
    if layer.kind == "ConvTranspose":
        front = [layer.groups, shape[1], shape[0] // layer.groups, *shape[2:]]
        return front, [0, 2, 1, *range(3, len(front))]
    axis = layer.axis % len(shape)
    others = [place for place in range(len(shape)) if place != axis]
    order = [0] * len(shape)
    for place, source in enumerate([axis, *others]):
        order[source] = place
    return [shape[axis], *(shape[place] for place in others)], order
