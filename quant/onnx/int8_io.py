"""Int8 inputs and outputs of a quantized ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgesdk.quant.onnx.graph import OnnxGraph
from edgesdk.quant.plan import IoScale
from edgesdk.quant.ranges import scale_and_zero_point

__all__ = ["dequantize_output", "make_int8_io", "quantize_input"]

#: ``TensorProto.FLOAT`` and ``TensorProto.INT8``.
_FLOAT, _INT8 = 1, 3


def quantize_input(array: np.ndarray, scale: IoScale) -> np.ndarray:
    """Quantize floats to the int8 numbers of an input."""
    numbers = np.rint(array / np.float32(scale.scale)) + scale.zero_point
    return np.clip(numbers, -128, 127).astype(np.int8)


def dequantize_output(array: np.ndarray, scale: IoScale) -> np.ndarray:
    """Dequantize the int8 numbers of an output."""
    return (array.astype(np.float32) - scale.zero_point) * np.float32(scale.scale)


def make_int8_io(
    graph: OnnxGraph, ranges: Mapping[str, tuple[float, float]]
) -> tuple[IoScale, ...]:
    """Make the float inputs and outputs of a model int8.

    The model's own bytes are unsigned, and float operators may come first or last, so an operator
    at each input and output converts between the two. It uses the model's own scale there, so
    nothing is rounded twice.

    Args:
        graph: Model with quantized activations, changed in place.
        ranges: Ranges of its inputs and outputs.

    Returns:
        Scales of the int8 tensors, inputs first; tensors other than floats are unchanged.
    """
    scales = []
    for value in graph.inputs:
        if value.type.tensor_type.elem_type == _FLOAT:
            scales.append(_input(graph, value, ranges[value.name]))
    for value in graph.graph.output:
        if value.type.tensor_type.elem_type == _FLOAT:
            scales.append(_output(graph, value, ranges[value.name]))
    return tuple(scales)


def _constants(graph: OnnxGraph, scale: IoScale) -> list[str]:
    name = scale.name
    return [
        graph.constant(f"{name}_face_scale", np.asarray(scale.scale, np.float32)),
        graph.constant(f"{name}_face_zero_point", np.asarray(scale.zero_point, np.int8)),
    ]


def _io_scale(
    graph: OnnxGraph, name: str, nodes: list[Any], limits: tuple[float, float]
) -> IoScale:
    """Return the model's own scale of an input or output; without one, that of its range."""
    for node in nodes:
        if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        array = graph.array(node.input[2])
        # Unsigned bytes are the same numbers, shifted by half their range.
        moved = {np.dtype(np.int8): 0, np.dtype(np.uint8): 128}.get(array.dtype)
        if moved is not None and array.size == 1:
            return IoScale(name, float(graph.array(node.input[1])), int(array) - moved)
    scale, zero_point = scale_and_zero_point(*limits)
    return IoScale(name, float(np.float32(scale)), zero_point)


def _input(graph: OnnxGraph, value: Any, limits: tuple[float, float]) -> IoScale:
    name = value.name
    users = graph.consumers().get(name, [])
    io_scale = _io_scale(graph, name, users, limits)
    value.type.tensor_type.elem_type = _INT8
    floats = graph.fresh(f"{name}_floats")
    if users:
        inputs = [name, *_constants(graph, io_scale)]
        decode = graph.node("DequantizeLinear", inputs, floats, name=f"{name}_face")
        graph.put_before(users[0], [decode])
        _rewire(name, floats, users)
        graph.replace({})
    return io_scale


def _output(graph: OnnxGraph, value: Any, limits: tuple[float, float]) -> IoScale:
    name = value.name
    source = graph.producers().get(name)
    users = graph.consumers().get(name, [])
    io_scale = _io_scale(graph, name, [source], limits)
    value.type.tensor_type.elem_type = _INT8
    floats = graph.fresh(f"{name}_floats")
    _rewire(name, floats, users)
    if source is not None:
        source.output[list(source.output).index(name)] = floats
    inputs = [floats, *_constants(graph, io_scale)]
    graph.graph.node.append(graph.node("QuantizeLinear", inputs, name, name=f"{name}_face"))
    graph.drop_unused()
    return io_scale


def _rewire(old: str, new: str, nodes: list[Any]) -> None:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]
