"""Weights of a saved Core ML package, decoded from its files."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.errors import QuantizationError

__all__ = ["PackedWeights", "packed_weights"]

#: Name of the weight input, by MIL operator.
_WEIGHTED = {"conv": "weight", "conv_transpose": "weight", "gather": "x", "linear": "weight"}
_SENTINEL = 0xDEADBEEF
#: NumPy type, or number of bits and signedness, by the name of MIL's type.
_PLAIN = {
    "BFLOAT16": "bf16",
    "FLOAT16": "<f2",
    "FLOAT32": "<f4",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT8": "<i1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT8": "<u1",
}
_NARROW = {
    "INT4": (4, True),
    "UINT1": (1, False),
    "UINT2": (2, False),
    "UINT3": (3, False),
    "UINT4": (4, False),
    "UINT6": (6, False),
}


@dataclass(frozen=True)
class PackedWeights:
    """Weights of one operator.

    Attributes:
        name: Name of the operator's output.
        operator: MIL operator.
        bits: Bits of a stored weight.
        values: Weights as floats.
        input_bits: 8 if the operator takes dequantized integers, else bits of its floats.
    """

    name: str
    operator: str
    bits: int
    values: np.ndarray
    input_bits: int


def packed_weights(package: Path) -> list[PackedWeights]:
    """Read the operators with constant weights, in the order of the program.

    Args:
        package: The ``.mlpackage``.

    Raises:
        QuantizationError: The storage of the weights is unknown.
    """
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model()
    (file,) = package.glob("Data/*/model.mlmodel")
    model.ParseFromString(file.read_bytes())
    weights = file.parent / "weights" / "weight.bin"
    reader = _Reader(weights.read_bytes() if weights.exists() else b"")
    (function,) = model.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    return list(_layers(block, reader))


def _layers(block: Any, reader: _Reader) -> Iterator[PackedWeights]:
    makers = {output.name: op for op in block.operations for output in op.outputs}
    reader.makers = makers
    for op in block.operations:
        argument = _WEIGHTED.get(op.type)
        maker = makers.get(_source(op, argument)) if argument else None
        if maker is None or not (maker.type == "const" or maker.type.startswith("constexpr_")):
            continue
        values, bits = reader.weight(maker)
        if values.ndim < 2:
            continue
        taken = makers.get(_source(op, "indices" if op.type == "gather" else "x"))
        # A cast or a move of dequantized integers still carries integers.
        integer = taken is not None and taken.type == "dequantize"
        (output,) = op.outputs
        kind = _type_name(output.type)
        floats = 16 if kind == "FLOAT16" else 32
        yield PackedWeights(output.name, op.type, bits, values, 8 if integer else floats)


def _source(op: Any, argument: str) -> str:
    bound: list[Any] = list(op.inputs[argument].arguments) if argument in op.inputs else []
    return bound[0].name if len(bound) == 1 and bound[0].WhichOneof("binding") == "name" else ""


def _type_name(kind: Any) -> str:
    from coremltools.proto import MIL_pb2

    return str(MIL_pb2.DataType.Name(kind.tensorType.dataType))


class _Reader:
    def __init__(self, blobs: bytes) -> None:
        self._blobs = blobs
        #: Operators by the names of their outputs, for weights decoded by several.
        self.makers: dict[str, Any] = {}

    def weight(self, op: Any) -> tuple[np.ndarray, int]:
        """Return the weights that an operator decodes, as floats, and their stored bits."""
        given = self._arguments(op)
        if op.type == "const":
            values = self._value(given["val"])
            return values.astype(np.float32), 8 * values.dtype.itemsize
        if op.type == "constexpr_affine_dequantize":
            return self._affine(given)
        if op.type == "constexpr_blockwise_shift_scale":
            return self._blockwise(given), self._bits(given["data"])
        if op.type == "constexpr_lut_to_dense":
            return self._palette(op, given)
        raise QuantizationError(
            f"the package stores weights as {op.type}, which is not supported",
            remedy="please report the model and the recipe",
        )

    def _arguments(self, op: Any) -> dict[str, Any]:
        given = dict(op.attributes.items())
        for name, argument in op.inputs.items():
            bound = argument.arguments
            if len(bound) == 1 and bound[0].WhichOneof("binding") == "value":
                given[name] = bound[0].value
        return given

    def _affine(self, given: dict[str, Any]) -> tuple[np.ndarray, int]:
        data = self._value(given["quantized_data"])
        axis = int(self._value(given["axis"]).reshape(-1)[0]) if "axis" in given else 0
        shape = [1] * data.ndim
        shape[axis] = -1
        scale, zero_point = (self._value(given[name]) for name in ("scale", "zero_point"))
        scale = scale.reshape(shape) if scale.ndim else scale
        zero_point = zero_point.reshape(shape) if zero_point.ndim else zero_point
        steps = data.astype(np.float32) - zero_point.astype(np.float32)
        return steps * scale.astype(np.float32), 8

    def _blockwise(self, given: dict[str, Any]) -> np.ndarray:
        data, scale = self._value(given["data"]), self._value(given["scale"])
        offset = self._value(given["offset"]) if "offset" in given else np.zeros(1)
        steps = data.astype(np.float32) - _spread(offset, data.shape)
        return steps * _spread(scale, data.shape)

    def _palette(self, op: Any, given: dict[str, Any]) -> tuple[np.ndarray, int]:
        if "lut" in given:
            table = self._value(given["lut"]).astype(np.float32)
        else:
            # A table with scales per channel.
            table = self._blockwise(self._arguments(self.makers[_source(op, "lut")]))
        if "shape" in given:
            # Older form: indices packed into bytes, one table.
            shape = tuple(int(size) for size in self._value(given["shape"]))
            bits = int(math.log2(table.size))
            packed = self._value(given["indices"])
            indices = _unpacked(packed.tobytes(), bits, math.prod(shape), signed=False)
            return table.reshape(-1)[indices].reshape(shape), bits
        indices = self._value(given["indices"]).astype(np.int64)
        whole = all(
            few in (1, many) for few, many in zip(table.shape[:-2], indices.shape, strict=True)
        )
        if table.shape[-1] != 1 or not whole:
            raise QuantizationError(
                "weights have several tables per channel",
                remedy="use a recipe with one table per tensor or channel",
            )
        tables = np.broadcast_to(table[..., 0], (*indices.shape, table.shape[-2]))
        values = np.take_along_axis(tables, indices[..., None], axis=-1)[..., 0]
        return values, self._bits(given["indices"])

    def _bits(self, value: Any) -> int:
        kind = _type_name(value.type)
        return _NARROW[kind][0] if kind in _NARROW else 8 * np.dtype(_PLAIN[kind]).itemsize

    def _value(self, value: Any) -> np.ndarray:
        kind = _type_name(value.type)
        shape = tuple(
            int(dimension.constant.size) for dimension in value.type.tensorType.dimensions
        )
        count = math.prod(shape)
        if value.WhichOneof("value") == "blobFileValue":
            data = self._blob(value.blobFileValue.offset)
        else:
            tensor = value.immediateValue.tensor
            form = tensor.WhichOneof("value")
            content = getattr(tensor, form).values
            if form != "bytes":
                plain = np.dtype(_PLAIN[kind])
                return np.array(list(content), plain).reshape(shape)
            data = bytes(content)
        if kind in _NARROW:
            bits, signed = _NARROW[kind]
            return _unpacked(data, bits, count, signed=signed).reshape(shape)
        return np.frombuffer(data, _PLAIN[kind], count).reshape(shape)

    def _blob(self, at: int) -> bytes:
        """Return the record at a byte offset of the weight file."""
        sentinel, _, size, offset = struct.unpack_from("<IIQQ", self._blobs, at)
        if sentinel != _SENTINEL or offset + size > len(self._blobs):
            raise QuantizationError(
                f"the weight file has no record at byte {at}", remedy="convert the model again"
            )
        return self._blobs[offset : offset + size]


def _unpacked(data: bytes, bits: int, count: int, *, signed: bool) -> np.ndarray:
    """Unpack numbers of a few bits, lowest bits of a byte first."""
    stream = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    digits = stream[: count * bits].reshape(count, bits).astype(np.int64)
    numbers: np.ndarray = digits @ (1 << np.arange(bits))
    return (
        np.where(numbers >= 1 << (bits - 1), numbers - (1 << bits), numbers) if signed else numbers
    )


def _spread(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Repeat the value of each block over its elements."""
    wide = values.astype(np.float32)
    for axis, size in enumerate(shape):
        if wide.ndim == len(shape) and wide.shape[axis] not in (1, size):
            wide = wide.repeat(size // wide.shape[axis], axis)
    return wide
