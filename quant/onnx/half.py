"""ONNX models in half precision with float inputs and outputs, by ONNX Runtime's converter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgesdk.errors import MissingBackendError, QuantizationError
from edgesdk.quant.onnx.calibration import first_line
from edgesdk.quant.onnx.graph import OnnxGraph

__all__ = ["in_half_precision"]

#: Suffixes of the names of the converter's casts.
_TO_HALF, _TO_SINGLE = "_cast_to_fp16_node", "_cast_to_fp32_node"


def in_half_precision(graph: OnnxGraph, kept: Iterable[str]) -> OnnxGraph:
    """Convert weights and arithmetic to half precision.

    Args:
        graph: Float model; consumed.
        kept: Names of nodes that stay in single precision.

    Raises:
        MissingBackendError: ONNX Runtime is not installed.
        QuantizationError: ONNX Runtime's converter failed.
    """
    try:
        from onnxruntime.quantization.onnx_model import ONNXModel
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise MissingBackendError("onnxruntime", "onnx") from error
    # The converter halves weights with a value info, even those of kept nodes.
    noted = [value for value in graph.graph.value_info if not graph.is_constant(value.name)]
    del graph.graph.value_info[:]
    graph.graph.value_info.extend(noted)
    try:
        model = convert_float_to_float16(
            graph.model, keep_io_types=True, node_block_list=sorted(kept)
        )
    except Exception as error:
        raise QuantizationError(
            f"ONNX Runtime's conversion to half precision failed: {first_line(error)}",
            remedy="use another recipe for onnx",
        ) from error
    _drop_repeated(model.graph)
    # The converter appends the casts of inputs and outputs at the end.
    sorted_model = ONNXModel(model)
    sorted_model.topological_sort()
    half = OnnxGraph(sorted_model.model)
    _skip_round_trips(half)
    return half


def _drop_repeated(graph: Any) -> None:
    """Remove casts that the converter wrote again for each kept user."""
    visited: set[str] = set()
    kept = []
    for node in graph.node:
        if node.output[0] not in visited:
            kept.append(node)
        visited.update(node.output)
    del graph.node[:]
    graph.node.extend(kept)


def _skip_round_trips(graph: OnnxGraph) -> None:
    """Remove casts to half and back between kept nodes."""
    producers = graph.producers()
    straight: dict[str, str] = {}
    for node in graph.graph.node:
        before = producers.get(node.input[0]) if node.op_type == "Cast" else None
        # Only the converter's own casts: those of the model may start from integers.
        if before is not None and before.name.endswith(_TO_HALF) and node.name.endswith(_TO_SINGLE):
            straight[node.output[0]] = before.input[0]
    for node in graph.graph.node:
        node.input[:] = [straight.get(name, name) for name in node.input]
    needed = {name for node in graph.graph.node for name in node.input}
    needed.update(value.name for value in graph.graph.output)
    unused = [
        node.name
        for node in graph.graph.node
        if node.op_type == "Cast" and node.output[0] not in needed
    ]
    graph.replace({name: [] for name in unused})
