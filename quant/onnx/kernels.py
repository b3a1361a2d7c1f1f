"""Operators that ONNX Runtime computes in floats, read from its optimized graph."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from edgesdk.errors import MissingBackendError, QuantizationError
from edgesdk.quant.onnx.calibration import first_line
from edgesdk.quant.onnx.graph import OnnxGraph, read_model
from edgesdk.quant.onnx.static import INTEGER_OPERATORS

__all__ = ["float_operators"]


def float_operators(graph: OnnxGraph, kept: Collection[str]) -> dict[str, int]:
    """Count operators behind quantized ones that have no integer kernel.

    Args:
        graph: Quantized model.
        kept: Names of nodes kept float on request; not counted.

    Returns:
        Counts by operator, sorted by name.

    Raises:
        MissingBackendError: ONNX Runtime is not installed.
        QuantizationError: ONNX Runtime refuses the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingBackendError("onnxruntime", "onnx") from error
    with tempfile.TemporaryDirectory(prefix="edgesdk-onnx-") as folder:
        path = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        # Higher levels choose layouts for this machine.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                graph.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise QuantizationError(
                f"ONNX Runtime refuses the quantized model: {first_line(error)}",
                remedy="keep the layer it names float with --keep-float",
            ) from error
        model = read_model(path)
    left = _computed_in_floats(model)
    behind = _behind_quantized(graph.model)
    found: Counter[str] = Counter()
    for node in behind:
        if node.name in kept:
            continue
        # Operators without kernel may have been split into operators of other names.
        if node.op_type not in INTEGER_OPERATORS or any(node.name in name for name in left):
            found[node.op_type] += 1
    return dict(sorted(found.items()))


def _behind_quantized(model: Any) -> list[Any]:
    """Return operators that read dequantized activations."""
    constants = {weight.name for weight in model.graph.initializer}
    floats: set[str] = set()
    found = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            if node.input[0] not in constants:
                floats.update(node.output)
        elif node.op_type != "QuantizeLinear" and floats.intersection(node.input):
            floats.update(node.output)
            found.append(node)
    return found


def _computed_in_floats(model: Any) -> set[str]:
    """Return the names of such operators in ONNX Runtime's optimized graph."""
    return {node.name for node in _behind_quantized(model)}
