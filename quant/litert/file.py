"""Content of a ``.tflite`` file: operators, tensors, constants and quantization parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.errors import QuantizationError
from edgesdk.quant.litert.flatbuffer import (
    listed,
    names_of,
    open_flatbuffer,
    operator_name,
    text_of,
)

__all__ = ["LitertModel", "LitertOperator", "LitertTensor", "read_model"]

#: NumPy types by the schema's names; types smaller than a byte are unpacked to int8.
_DTYPES = {
    "BOOL": np.bool_,
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
    "FLOAT64": np.float64,
    "INT16": np.int16,
    "INT2": np.int8,
    "INT32": np.int32,
    "INT4": np.int8,
    "INT64": np.int64,
    "INT8": np.int8,
    "UINT8": np.uint8,
}
_PACKED_BITS = {"INT2": 2, "INT4": 4}

#: Index of an absent operator input.
ABSENT = -1


@dataclass(frozen=True)
class LitertTensor:
    """One tensor.

    Attributes:
        index: Index among the tensors.
        name: Name, unique in the graph.
        dtype: Type in the schema, such as ``FLOAT32`` or ``INT4``.
        shape: Sizes; 1 for a free one.
        stored: Stored values of a constant, unpacked; None for computed tensors.
        scales: Scales of a quantized tensor: one, one per slice along ``axis``, or one per slice
            and block, ``(slices, blocks)``; empty for floats.
        zero_points: Integers that represent 0, one per scale; empty without scales.
        axis: Axis whose slices have their own scales.
        block: Number of values per scale along the last axis; 0 without blocks.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    stored: np.ndarray | None = None
    scales: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    zero_points: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    axis: int = 0
    block: int = 0

    @property
    def constant(self) -> bool:
        """True if the file holds its values."""
        return self.stored is not None

    @property
    def quantized(self) -> bool:
        """True if its integers represent floats."""
        return self.scales.size > 0

    @property
    def bits(self) -> int:
        """Bits of one value."""
        return _PACKED_BITS.get(self.dtype, np.dtype(_DTYPES.get(self.dtype, np.int8)).itemsize * 8)

    @property
    def levels(self) -> tuple[int, int]:
        """Smallest and largest integer of its type."""
        if self.dtype == "UINT8":
            return 0, 255
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    def values(self) -> np.ndarray:
        """Return a constant's values: quantized ones decoded to float32, others unchanged.

        Raises:
            QuantizationError: The tensor is computed, or its scales do not fit its shape.
        """
        if self.stored is None:
            raise QuantizationError(f"tensor {self.name!r} is computed and has no stored values")
        if not self.quantized:
            floats = self.dtype in ("FLOAT16", "FLOAT64")
            return self.stored.astype(np.float32) if floats else self.stored
        scale, zero = self._spread()
        return ((self.stored.astype(np.float32) - zero) * scale).astype(np.float32)

    def _spread(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scales and zero points that broadcast over the values."""
        try:
            if self.block:
                grid = self.scales.reshape(self.shape[0], -1)
                spread = np.repeat(grid, self.block, axis=1).reshape(self.shape)
                return spread, np.zeros_like(spread)
            if self.scales.size == 1:
                return self.scales.reshape(()), self.zero_points.astype(np.float32).reshape(())
            shape = [1] * len(self.shape)
            shape[self.axis] = self.shape[self.axis]
            zeros = np.broadcast_to(self.zero_points, self.scales.shape)
            return self.scales.reshape(shape), zeros.astype(np.float32).reshape(shape)
        except (IndexError, ValueError) as error:
            raise QuantizationError(
                f"the {self.scales.size} scales of tensor {self.name!r} do not fit its shape "
                f"{self.shape}"
            ) from error


@dataclass(frozen=True)
class LitertOperator:
    """One operator.

    Attributes:
        index: Position in the order of execution.
        name: Name in the schema, such as ``CONV_2D``.
        inputs: Indices of tensors; -1 for absent ones.
        outputs: Indices of tensors.
        options: The schema's table of its parameters; None if it has none.
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any

    @property
    def present(self) -> tuple[int, ...]:
        """Indices of the inputs that are present."""
        return tuple(index for index in self.inputs if index != ABSENT)


@dataclass(frozen=True)
class LitertModel:
    """The main graph of a file.

    Attributes:
        operators: In the order of execution.
        tensors: By index.
        inputs: Tensor index of each input, by its name in the signature.
        outputs: Tensor index of each output, by its name in the signature.
        free: Sizes of tensors with free ones, -1 for each of those, by tensor index.
    """

    operators: tuple[LitertOperator, ...]
    tensors: tuple[LitertTensor, ...]
    inputs: dict[str, int]
    outputs: dict[str, int]
    free: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def producers(self) -> dict[int, LitertOperator]:
        """Return the operator that computes each tensor."""
        return {tensor: operator for operator in self.operators for tensor in operator.outputs}

    def consumers(self) -> dict[int, list[LitertOperator]]:
        """Return the operators that read each tensor."""
        found: dict[int, list[LitertOperator]] = {}
        for operator in self.operators:
            for tensor in operator.present:
                found.setdefault(tensor, []).append(operator)
        return found


def read_model(path: Path) -> LitertModel:
    """Read the main graph of a model with all its constants.

    Raises:
        QuantizationError: The file is not a LiteRT model, or is damaged.
        MissingBackendError: ``ai_edge_litert`` is not installed.
    """
    with open_flatbuffer(path, QuantizationError) as (content, model, schema):
        return _Reader(model, content, schema).model()


class _Reader:
    def __init__(self, model: Any, content: bytes, schema: Any) -> None:
        self._model = model
        self._content = content
        self._types = names_of(schema.TensorType)
        self._codes = names_of(schema.BuiltinOperator)
        self._blockwise = schema.QuantizationDetails.BlockwiseQuantization
        self._graph = model.subgraphs[0]

    def model(self) -> LitertModel:
        tensors = tuple(
            self._tensor(place, entry) for place, entry in enumerate(self._graph.tensors)
        )
        operators = tuple(
            self._operator(place, entry)
            for place, entry in enumerate(listed(self._graph.operators))
        )
        signature = next(
            (entry for entry in listed(self._model.signatureDefs) if entry.subgraphIndex == 0),
            None,
        )
        faces = [
            {text_of(item.name): int(item.tensorIndex) for item in listed(entries)}
            if signature is not None
            else {tensors[index].name: int(index) for index in listed(indices)}
            for entries, indices in (
                (getattr(signature, "inputs", None), self._graph.inputs),
                (getattr(signature, "outputs", None), self._graph.outputs),
            )
        ]
        free = {
            place: tuple(int(size) for size in entry.shapeSignature)
            for place, entry in enumerate(self._graph.tensors)
            if entry.shapeSignature is not None and -1 in entry.shapeSignature
        }
        return LitertModel(operators, tensors, faces[0], faces[1], free)

    def _operator(self, place: int, entry: Any) -> LitertOperator:
        code = self._model.operatorCodes[entry.opcodeIndex]
        return LitertOperator(
            place,
            operator_name(code, self._codes),
            tuple(int(index) for index in listed(entry.inputs)),
            tuple(int(index) for index in listed(entry.outputs)),
            entry.builtinOptions if entry.builtinOptions is not None else entry.builtinOptions2,
        )

    def _tensor(self, place: int, entry: Any) -> LitertTensor:
        dtype = self._types[entry.type]
        shape = tuple(int(size) for size in listed(entry.shape))
        scales, zeros = np.zeros(0, np.float32), np.zeros(0, np.int64)
        axis = block = 0
        details = entry.quantization
        if details is not None and details.detailsType == self._blockwise:
            block = int(details.details.blockSize)
            steps = self._stored(self._graph.tensors[details.details.scales])
            scales = np.asarray(steps, np.float32).ravel()
            zeros = np.zeros(scales.size, np.int64)
        elif details is not None and details.scale is not None:
            scales = np.asarray(details.scale, np.float32)
            zeros = np.asarray(listed(details.zeroPoint), np.int64)
            if zeros.size != scales.size:
                zeros = np.full(scales.size, zeros[0] if zeros.size else 0, np.int64)
            axis = int(details.quantizedDimension)
        return LitertTensor(
            *(place, text_of(entry.name), dtype, shape, self._stored(entry)),
            *(scales, zeros, axis, block),
        )

    def _stored(self, entry: Any) -> np.ndarray | None:
        data = self._bytes(self._model.buffers[entry.buffer])
        dtype = self._types[entry.type]
        if data is None or dtype not in _DTYPES:
            return None
        shape = tuple(int(size) for size in listed(entry.shape))
        bits = _PACKED_BITS.get(dtype)
        if bits:
            return _unpacked(data, bits, math.prod(shape)).reshape(shape)
        return np.frombuffer(data, np.dtype(_DTYPES[dtype]).newbyteorder("<")).reshape(shape)

    def _bytes(self, buffer: Any) -> bytes | None:
        if buffer.data is not None:
            return bytes(buffer.data)
        # Large weights may lie behind the flatbuffer; offsets 0 and 1 mean that none do.
        if buffer.offset > 1 and buffer.size:
            data = self._content[buffer.offset : buffer.offset + buffer.size]
            if len(data) != buffer.size:
                raise ValueError("its weights extend beyond the end of the file")
            return data
        return None


def _unpacked(data: bytes, bits: int, count: int) -> np.ndarray:
    """Unpack signed integers smaller than a byte, lowest bits first."""
    packed = np.frombuffer(data, np.uint8)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields = (packed[:, None] >> shifts) & (2**bits - 1)
    signed = fields.astype(np.int8).ravel()[:count]
    return np.where(signed >= 2 ** (bits - 1), signed - 2**bits, signed).astype(np.int8)
