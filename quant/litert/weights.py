"""Weights of a float ``.tflite`` rounded before the vendor's quantizer stores them.

The quantizer rounds each weight to the nearest integer. Here the integers are chosen so that what
one weight loses the others of its output channel make good, and the floats in the file are moved
onto those integers; the quantizer is told the scales and finds them again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgesdk.errors import QuantizationError
from edgesdk.quant.litert.file import LitertModel
from edgesdk.quant.litert.layers import LitertLayer
from edgesdk.quant.rounding import InputMoments, RoundedRows, mean_shift, round_rows

__all__ = ["RoundedWeights", "round_weights"]

#: A bias is stored in steps of a scale that is fixed by its input and its weights, in 32 bits.
_LARGEST_BIAS = 2.0**30
#: Operators in which each output channel has a scale of its own.
_KINDS = ("conv2d", "conv_transpose2d", "depthwise", "linear")


@dataclass
class RoundedWeights:
    """What was done to the weights.

    Attributes:
        content: The file with weights and biases replaced.
        ranges: Lowest and highest weight of each output channel, by name of the tensor, in the
            form in which the vendor's quantizer takes calibration results.
    """

    content: bytearray
    ranges: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def round_weights(
    content: bytes,
    model: LitertModel,
    bits: dict[int, int],
    layers: list[LitertLayer],
    *,
    moments: dict[int, InputMoments] | None = None,
    input_scales: dict[int, float] | None = None,
) -> RoundedWeights:
    """Round the weights of a float model.

    Args:
        content: The file.
        model: What it holds.
        bits: Bits of a weight, by index of the layer's operator; layers that are not named are
            left as they are.
        layers: See :func:`edgesdk.quant.litert.layers.weighted_operators`.
        moments: Of what the weights are multiplied by, by index of the operator.
        input_scales: Scale of what a layer takes, by index of its operator, where that is
            quantized with fixed scales: no bias may need more than 32 bits then.
    """
    rounded = RoundedWeights(bytearray(content))
    writer = _Writer(rounded.content)
    done: set[int] = set()
    for layer in layers:
        width = bits.get(layer.operator.index)
        if width is None or layer.kind not in _KINDS or layer.operator.name == "BATCH_MATMUL":
            continue
        if layer.weight.index in done or not writer.alone(layer.weight.index):
            continue
        done.add(layer.weight.index)
        rows = layer.rows(layer.weight.values())
        known = (moments or {}).get(layer.operator.index)
        chosen = round_rows(rows, width, moments=known)
        if known is None:
            chosen = _sum_preserving(rows, chosen, width)
        bias = _bias(model, layer)
        scale = (input_scales or {}).get(layer.operator.index)
        if scale is not None and bias is not None:
            chosen = _raised_scales(rows, chosen, np.abs(bias[1]) / (_LARGEST_BIAS * scale), width)
        writer.write(layer.weight.index, layer.unrolled(chosen.values()))
        if bias is not None and known is not None and writer.alone(bias[0], readers=1):
            shift = mean_shift(rows, chosen, known)
            writer.write(bias[0], (bias[1] + shift).astype(np.float32))
        rounded.ranges[layer.weight.name] = _vendor_ranges(layer, chosen, width)
    return rounded


def _sum_preserving(rows: np.ndarray, rounded: RoundedRows, bits: int) -> RoundedRows:
    """Rounding that hardly changes the sum of the weights of an output channel.

    Where nothing is known of the inputs they are taken to be alike, as they are behind a rectifier,
    where all are positive: then the sum of the errors shifts the result. Weights nearest to the
    middle between two integers go the other way until the sum is as near as it can be.
    """
    largest = 2 ** (bits - 1) - 1
    integers = rounded.integers.astype(np.int64)
    lost = rows.astype(np.float64) / rounded.scales.astype(np.float64) - integers
    surplus = np.round(lost.sum(axis=1, keepdims=True))
    sign = np.where(surplus < 0, -1, 1)
    gain = lost * sign
    # What was clipped has no integer to go to, and a weight of zero stays one.
    movable = (np.abs(integers + sign) <= largest) & (gain > 0) & (rows != 0)
    order = np.argsort(np.where(movable, -gain, np.inf), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    moved = integers + sign * (movable & (rank < np.abs(surplus)))
    return RoundedRows(moved.astype(np.int8), rounded.scales, rounded.block)


def _raised_scales(
    rows: np.ndarray, rounded: RoundedRows, least: np.ndarray, bits: int
) -> RoundedRows:
    """Scales that are at least so large, for each row; others stay as they are."""
    scales = np.maximum(rounded.scales, least[:, None].astype(np.float32))
    largest = 2 ** (bits - 1) - 1
    nearest = np.clip(np.round(rows / scales), -largest, largest).astype(np.int8)
    integers = np.where(scales == rounded.scales, rounded.integers, nearest)
    return RoundedRows(integers, scales, rounded.block)


def _vendor_ranges(layer: LitertLayer, rounded: RoundedRows, bits: int) -> dict[str, np.ndarray]:
    shape = [1] * len(layer.weight.shape)
    shape[layer.axis] = -1
    largest = (rounded.scales * np.float32(2 ** (bits - 1) - 1)).reshape(shape)
    return {"min": -largest, "max": largest}


def _bias(model: LitertModel, layer: LitertLayer) -> tuple[int, np.ndarray] | None:
    place = {"TRANSPOSE_CONV": 3}.get(layer.operator.name, 2)
    if place >= len(layer.operator.inputs) or layer.operator.inputs[place] < 0:
        return None
    tensor = model.tensors[layer.operator.inputs[place]]
    if tensor.dtype != "FLOAT32" or not tensor.constant:
        return None
    return tensor.index, tensor.values()


class _Writer:
    """Replaces constants of a file where they lie."""

    def __init__(self, content: bytearray) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._content = content
        self._model: Any = schema.Model.GetRootAs(content, 0)
        self._graph: Any = self._model.Subgraphs(0)
        self._owners = Counter(
            self._graph.Tensors(place).Buffer() for place in range(self._graph.TensorsLength())
        )
        self._readers = Counter(
            int(tensor)
            for place in range(self._graph.OperatorsLength())
            for tensor in self._graph.Operators(place).InputsAsNumpy()
        )

    def alone(self, tensor: int, readers: int = 0) -> bool:
        """Whether nothing else changes with a constant: equal ones may share their bytes.

        Args:
            tensor: Its index.
            readers: Operators that may read it; 0 for any number.
        """
        shared = self._owners[self._graph.Tensors(tensor).Buffer()] > 1
        return not shared and (not readers or self._readers[tensor] <= readers)

    def write(self, tensor: int, values: np.ndarray) -> None:
        buffer = self._model.Buffers(self._graph.Tensors(tensor).Buffer())
        data = np.ascontiguousarray(values, np.float32).view(np.uint8).ravel()
        if buffer.DataLength() == data.size:
            # A view of the file's own bytes.
            buffer.DataAsNumpy()[:] = data
        elif buffer.Offset() > 1 and buffer.Size() == data.size:
            start = buffer.Offset()
            self._content[start : start + data.size] = data.tobytes()
        else:
            raise QuantizationError("the weights of the float model are not where it says")
