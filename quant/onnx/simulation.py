"""Simulation of quantized ONNX models in torch: exact integers, everything else in floats.

ONNX Runtime is not involved, so a wrong kernel or a wrong file shows as a difference between the
two.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgesdk.errors import QuantizationError
from edgesdk.quant.onnx.float_operators import FLOAT_OPERATORS
from edgesdk.quant.onnx.fused_operators import FusedOperator, fused_operators
from edgesdk.quant.onnx.graph import OnnxGraph, read_model
from edgesdk.quant.onnx.integer_operators import INTEGER_ARITHMETIC
from edgesdk.quant.plan import Arrays

__all__ = ["missing_operators", "simulate"]

_OPERATORS = {**FLOAT_OPERATORS, **INTEGER_ARITHMETIC}


def simulate(
    model: Path | Any, inputs: Mapping[str, np.ndarray], *, keep_all: bool = False
) -> Arrays:
    """Simulate a model.

    Args:
        model: ONNX file, or model in memory; not changed.
        inputs: Arrays by input name.
        keep_all: True to also return every inner tensor by name.

    Returns:
        Outputs by name.

    Raises:
        MissingBackendError: ``onnx`` is not installed.
        QuantizationError: An operator is not supported, or an input is missing.
    """
    if isinstance(model, Path):
        model = read_model(model)
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = OnnxGraph(copied)
    values: dict[str, Tensor | None] = {"": None}
    for weight in graph.graph.initializer:
        # Copied because torch does not support read-only memory.
        values[weight.name] = torch.from_numpy(np.array(graph.array(weight.name)))
    for value in graph.inputs:
        if value.name not in inputs:
            raise QuantizationError(f"the simulation lacks the input {value.name!r}")
        values[value.name] = torch.from_numpy(np.array(inputs[value.name]))
    results = [value.name for value in graph.graph.output]
    fused = fused_operators(graph)
    last_use = _last_use(graph, results, fused)
    computed: list[str] = []
    with torch.inference_mode():
        for place, node in enumerate(graph.graph.node):
            result = fused[node.name].compute(values) if node.name in fused else None
            if result is not None:
                values[fused[node.name].output.output[0]] = result
                computed.append(fused[node.name].output.output[0])
            if keep_all or result is None:
                computed += _compute(node, values)
            if not keep_all:
                for name in last_use.get(place, ()):
                    values.pop(name, None)
    names = dict.fromkeys((*results, *computed) if keep_all else results)
    answers: Arrays = {}
    for name in names:
        tensor = values.get(name)
        if tensor is not None:
            answers[name] = tensor.numpy()
    return answers


def missing_operators(model: Any) -> tuple[str, ...]:
    """Return the operators of a model that the simulation lacks, sorted.

    Args:
        model: ONNX model in memory.
    """
    graph = OnnxGraph(model)
    fused = fused_operators(graph)
    used = {node.op_type for node in graph.graph.node if node.name not in fused}
    return tuple(sorted(used - _OPERATORS.keys()))


def _last_use(
    graph: OnnxGraph, results: list[str], fused: Mapping[str, FusedOperator]
) -> dict[int, list[str]]:
    """Return the values last used by each node, by the node's position."""
    last = {}
    for place, node in enumerate(graph.graph.node):
        inner = fused[node.name].needs if node.name in fused else ()
        last.update({name: place for name in (*node.input, *inner) if name})
    freed: dict[int, list[str]] = {}
    for name, place in last.items():
        if name not in results:
            freed.setdefault(place, []).append(name)
    return freed


def _compute(node: Any, values: dict[str, Tensor | None]) -> list[str]:
    if node.op_type == "QuantizeLinear" and node.output[0] in values:
        # It was computed together with the operator in front.
        return []
    operator = _OPERATORS.get(node.op_type)
    if operator is None:
        raise QuantizationError(
            f"the simulation does not support the operator {node.op_type} (node {node.name!r})",
            remedy="replace the operator in the model, or export it without this recipe",
        )
    results = operator(node, [values[name] for name in node.input])
    names = []
    for name, result in zip(node.output, results, strict=False):
        if name:
            values[name] = result
            names.append(name)
    return names
