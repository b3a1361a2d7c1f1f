"""Rounding of a float ``.tflite``'s weights before the vendor's quantizer stores them.

The quantizer rounds each weight to the nearest integer. Here the integers are chosen with error
compensation within an output channel, and the floats in the file are set to these integers times
the scales. The quantizer gets the scales and reproduces the integers.
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

#: Biases have 32 bits, with the scale of the input times that of the weights.
_LARGEST_BIAS = 2.0**30
#: Operators with a scale per output channel.
_KINDS = ("conv2d", "conv_transpose2d", "depthwise", "linear")


@dataclass
class RoundedWeights:
    """Result of rounding weights.

    Attributes:
        content: The file with weights and biases replaced.
        ranges: Lowest and highest weight of each output channel by tensor name, in the form of the
            vendor's calibration results.
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
        content: Bytes of the file.
        model: Content of the file.
        bits: Bits of a weight, by operator index; other layers are not changed.
        layers: See :func:`edgesdk.quant.litert.layers.weighted_operators`.
        moments: Moments of the inputs, by operator index.
        input_scales: Scales of static inputs, by operator index, which limit biases to 32 bits.
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
    """Adjust rounding to preserve the sum of each output channel's weights.

    Without data, inputs are assumed to have similar means, as behind a rectifier; the sum of the
    rounding errors then shifts the output. Weights nearest to the middle between two integers are
    rounded the other way until the sum is as close as possible.
    """
    largest = 2 ** (bits - 1) - 1
    integers = rounded.integers.astype(np.int64)
    lost = rows.astype(np.float64) / rounded.scales.astype(np.float64) - integers
    surplus = np.round(lost.sum(axis=1, keepdims=True))
    sign = np.where(surplus < 0, -1, 1)
    gain = lost * sign
    # Clipped weights cannot move further, and zero weights stay zero.
    movable = (np.abs(integers + sign) <= largest) & (gain > 0) & (rows != 0)
    order = np.argsort(np.where(movable, -gain, np.inf), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    moved = integers + sign * (movable & (rank < np.abs(surplus)))
    return RoundedRows(moved.astype(np.int8), rounded.scales, rounded.block)


def _raised_scales(
    rows: np.ndarray, rounded: RoundedRows, least: np.ndarray, bits: int
) -> RoundedRows:
    """Raise the scale of each row to at least ``least``, and round again."""
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
    """Replaces constants of a file in place."""

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
        """Return True if a constant can change alone; equal constants may share bytes.

        Args:
            tensor: Tensor index.
            readers: Largest number of operators that read it; 0 for any.
        """
        shared = self._owners[self._graph.Tensors(tensor).Buffer()] > 1
        return not shared and (not readers or self._readers[tensor] <= readers)

    def write(self, tensor: int, values: np.ndarray) -> None:
        buffer = self._model.Buffers(self._graph.Tensors(tensor).Buffer())
        data = np.ascontiguousarray(values, np.float32).view(np.uint8).ravel()
        if buffer.DataLength() == data.size:
            # This is a view of the file's bytes.
            buffer.DataAsNumpy()[:] = data
        elif buffer.Offset() > 1 and buffer.Size() == data.size:
            start = buffer.Offset()
            self._content[start : start + data.size] = data.tobytes()
        else:
            raise QuantizationError(
                "the weights of the float model are not at their offset in the file"
            )
