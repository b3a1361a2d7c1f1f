"""Operators and tensors of a ``.tflite`` file, read without running it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesdk.errors import SessionError
from edgesdk.quant.litert.flatbuffer import (
    listed,
    names_of,
    open_flatbuffer,
    operator_name,
    text_of,
)

__all__ = ["LitertGraph", "Operator", "Tensor", "read_graph"]

# Largest size, in bytes, of a constant that may be a shape, axes or steps.
_SHORT = 256


@dataclass(frozen=True)
class Tensor:
    """One tensor of the main graph.

    Attributes:
        name: Its name.
        dtype: Type in the schema, such as ``FLOAT32``.
        shape: Sizes; ``-1`` for a free one.
        constant: True if the file holds its values.
        integers: Values of a short constant of 32-bit integers; empty for other tensors.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant: bool
    integers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Operator:
    """One operator of the main graph.

    Attributes:
        index: Position in the order of execution.
        name: Name in the schema, such as ``CONV_2D``.
        inputs: Indices of tensors, without absent optional ones.
        outputs: Indices of tensors.
        options: The schema's table of its parameters; None if it has none.
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class LitertGraph:
    """The main graph.

    Attributes:
        operators: In the order of execution.
        tensors: By index.
    """

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]

    def producers(self) -> dict[int, int]:
        """Return the operator that computes each tensor."""
        return {
            tensor: operator.index for operator in self.operators for tensor in operator.outputs
        }

    def dependencies(self) -> list[set[int]]:
        """Return, for each operator, the operators whose results it needs."""
        producers = self.producers()
        return [
            {producers[tensor] for tensor in operator.inputs if tensor in producers}
            for operator in self.operators
        ]


def read_graph(path: Path) -> LitertGraph:
    """Read the main graph of a model.

    Raises:
        SessionError: The file is not a LiteRT model.
        MissingBackendError: ``ai_edge_litert`` is not installed.
    """
    with open_flatbuffer(path, SessionError) as (_, model, schema):
        graph = model.subgraphs[0]
        operator_names = names_of(schema.BuiltinOperator)
        type_names = names_of(schema.TensorType)
        tensors = tuple(_tensor(tensor, model, type_names) for tensor in graph.tensors)
        operators = tuple(
            _operator(place, entry, model, operator_names)
            for place, entry in enumerate(listed(graph.operators))
        )
    return LitertGraph(operators, tensors)


def _tensor(tensor: Any, model: Any, names: dict[int, str]) -> Tensor:
    # The signature holds free sizes as -1; the shape holds 1 for them.
    free = listed(tensor.shapeSignature)
    buffer = model.buffers[tensor.buffer]
    data = buffer.data
    dtype = names[tensor.type]
    integers: tuple[int, ...] = ()
    if data is not None and dtype == "INT32" and len(data) <= _SHORT:
        integers = struct.unpack(f"<{len(data) // 4}i", bytes(data)[: len(data) // 4 * 4])
    return Tensor(
        text_of(tensor.name),
        dtype,
        tuple(int(size) for size in (free or listed(tensor.shape))),
        # Large constants of a quantized model lie behind the flatbuffer, at an offset.
        data is not None or buffer.offset > 1,
        integers,
    )


def _operator(place: int, entry: Any, model: Any, names: dict[int, str]) -> Operator:
    code = model.operatorCodes[entry.opcodeIndex]
    return Operator(
        place,
        operator_name(code, names),
        tuple(int(tensor) for tensor in listed(entry.inputs) if tensor >= 0),
        tuple(int(tensor) for tensor in listed(entry.outputs)),
        entry.builtinOptions,
    )
