"""Static quantization by ONNX Runtime's quantizer, with our ranges and rounded weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesdk.errors import MissingBackendError, QuantizationError
from edgesdk.quant.onnx.calibration import first_line
from edgesdk.quant.onnx.graph import OnnxGraph
from edgesdk.quant.onnx.layers import OnnxLayer
from edgesdk.quant.onnx.rows import from_rows
from edgesdk.quant.onnx.weights import RoundedWeights, WeightStore

__all__ = ["INTEGER_OPERATORS", "make_static", "ranged_tensors"]

#: Operators that ONNX Runtime's CPU provider computes on 8-bit integers, or passes through.
#: Softmax has such a kernel too, but 256 steps of probabilities are too few for attention.
INTEGER_OPERATORS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
_INT8 = 3


def ranged_tensors(graph: OnnxGraph) -> list[str]:
    """Return the tensors whose ranges the quantizer needs, with inputs and outputs."""
    names = [value.name for value in (*graph.inputs, *graph.graph.output)]
    for node in graph.graph.node:
        if node.op_type in INTEGER_OPERATORS:
            names += [name for name in node.input if name and not graph.is_constant(name)]
            names += node.output
    return list(dict.fromkeys(names))


def make_static(
    graph: OnnxGraph,
    layers: Sequence[OnnxLayer],
    rounded: RoundedWeights,
    ranges: Mapping[str, tuple[float, float]],
    activation_bits: int,
    kept: Sequence[str],
) -> tuple[OnnxGraph, dict[str, str]]:
    """Quantize weights and activations.

    Args:
        graph: Float model; consumed.
        layers: Layers to quantize.
        rounded: Rounded weights of the layers.
        ranges: Lowest and highest value by tensor.
        activation_bits: 8 or 16.
        kept: Names of nodes that stay float.

    Returns:
        The quantized model, and reasons for layers that compute in floats with quantized weights,
        by node name.

    Raises:
        MissingBackendError: ONNX Runtime is not installed.
        QuantizationError: ONNX Runtime's quantizer failed.
    """
    stored = [layer for layer in layers if not _has_kernel(layer)]
    overrides = _our_integers(graph, [layer for layer in layers if _has_kernel(layer)], rounded)
    excluded = [*kept, *(layer.node for layer in stored), *_clamped_outputs(graph)]
    try:
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    except ImportError as error:
        raise MissingBackendError("onnxruntime", "onnx") from error
    if activation_bits == 16:
        graph.need_small_integers()
    table = {
        name: (np.asarray(low, np.float32), np.asarray(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    # Not QInt8: on x86 ONNX Runtime converts signed activations to unsigned ones at load, except
    # those with several users; layers around these fall back to floats.
    kind = {8: QuantType.QUInt8, 16: QuantType.QInt16}[activation_bits]
    try:
        quantizer = QDQQuantizer(
            onnx.shape_inference.infer_shapes(graph.model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=kind,
            tensors_range=TensorsData(CalibrationMethod.MinMax, table),
            nodes_to_quantize=[],
            nodes_to_exclude=excluded,
            op_types_to_quantize=list(INTEGER_OPERATORS),
            extra_options={
                "TensorQuantOverrides": {
                    name: [{**entry, "quant_type": QuantType.QInt8} for entry in entries]
                    for name, entries in overrides.items()
                },
            },
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    except Exception as error:
        raise QuantizationError(
            f"ONNX Runtime's quantizer failed with {type(error).__name__}: {first_line(error)}",
            remedy="keep the layers it names float with --keep-float, or use w8_only",
        ) from error
    quantized = OnnxGraph(quantizer.model.model)
    narrow = {layer.weight for layer in layers if rounded.bits[layer.node] < 8}
    _narrow(quantized, narrow)
    store = WeightStore(quantized)
    for layer in stored:
        store.put(layer, rounded.rows[layer.node], rounded.bits[layer.node])
    quantized.replace({})
    reasons = {
        layer.node: f"ONNX Runtime has no 8-bit {layer.kind} of this form; "
        "only the weights are quantized"
        for layer in stored
    }
    return quantized, reasons


def _clamped_outputs(graph: OnnxGraph) -> list[str]:
    """Return the clamps whose input is also an output of the model.

    The quantizer gives the input of a clamp the range of its result, which would clip that output.
    """
    outputs = {value.name for value in graph.graph.output}
    return [
        node.name
        for node in graph.graph.node
        if node.op_type in ("Clip", "Relu") and node.input[0] in outputs
    ]


def _has_kernel(layer: OnnxLayer) -> bool:
    return layer.kind in INTEGER_OPERATORS and layer.slot == 1


def _our_integers(
    graph: OnnxGraph, layers: Sequence[OnnxLayer], rounded: RoundedWeights
) -> dict[str, list[dict[str, Any]]]:
    """Make the quantizer reproduce our integers: set dequantized weights and their scales."""
    overrides: dict[str, list[dict[str, Any]]] = {}
    for layer in layers:
        rows = rounded.rows[layer.node]
        graph.set_constant(layer.weight, from_rows(rows.values(), layer))
        overrides[layer.weight] = [
            {"scale": scale, "zero_point": np.int8(0), "axis": layer.axis % len(layer.shape)}
            for scale in rows.scales[:, 0]
        ]
    return overrides


def _narrow(graph: OnnxGraph, weights: set[str]) -> None:
    """Store weights in 4 bits; ONNX Runtime widens them at load for its 8-bit kernels."""
    for node in graph.graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        name = node.input[0]
        if name.removesuffix("_quantized") not in weights or not graph.is_constant(name):
            continue
        small = graph.constant(f"{name}_small", graph.array(name), bits=4)
        wide = graph.fresh(f"{name}_wide")
        cast = graph.node("Cast", [small], wide, name=f"{name}_widening", to=_INT8)
        graph.put_before(node, [cast])
        node.input[0] = wide
    graph.replace({})
