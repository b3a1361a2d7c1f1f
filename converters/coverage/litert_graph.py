"""The graph inside a ``.tflite`` file: operators and tensors, read without running anything."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesdk.errors import MissingBackendError, SessionError

__all__ = ["LitertGraph", "Operator", "Tensor", "read_graph"]

# Bytes up to which a constant may be a shape, axes or steps.
_SHORT = 256


@dataclass(frozen=True)
class Tensor:
    """One tensor of the main graph.

    Attributes:
        name: Its name.
        dtype: Its type as the schema names it, such as ``FLOAT32``.
        shape: Its shape; ``-1`` where a size is free.
        constant: Whether the file holds its values.
        integers: The values of a short constant of 32-bit integers, empty for every other tensor.
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
        index: Its place in the order of execution.
        name: Its name as the schema has it, such as ``CONV_2D``.
        inputs: Indices of tensors; absent optional ones are left out.
        outputs: Indices of tensors.
        options: The schema's table of its parameters, None where it has none.
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
        """From a tensor to the operator that computes it."""
        return {
            tensor: operator.index for operator in self.operators for tensor in operator.outputs
        }

    def dependencies(self) -> list[set[int]]:
        """For each operator the operators whose results it needs."""
        producers = self.producers()
        return [
            {producers[tensor] for tensor in operator.inputs if tensor in producers}
            for operator in self.operators
        ]


def read_graph(path: Path) -> LitertGraph:
    """Read the main graph of a model.

    Raises:
        SessionError: It is no LiteRT model.
        MissingBackendError: ``ai_edge_litert`` is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingBackendError("ai_edge_litert", "litert") from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SessionError(f"cannot read {path}: {error.strerror}") from error
    try:
        if content[4:8] != b"TFL3":
            raise ValueError("its identifier is not that of a model")
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        graph = model.subgraphs[0]
        operator_names = _names(schema.BuiltinOperator)
        type_names = _names(schema.TensorType)
        tensors = tuple(_tensor(tensor, model, type_names) for tensor in graph.tensors)
        operators = tuple(
            _operator(place, entry, model, operator_names)
            for place, entry in enumerate(_listed(graph.operators))
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise SessionError(
            f"{path.name} is no LiteRT model: {error}",
            remedy="give a .tflite file that was written completely",
        ) from error
    return LitertGraph(operators, tensors)


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


def _listed(values: Any) -> list[Any]:
    return [] if values is None else list(values)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _tensor(tensor: Any, model: Any, names: dict[int, str]) -> Tensor:
    # A shape with free sizes stands in the signature; the shape itself holds 1 for them.
    free = _listed(tensor.shapeSignature)
    buffer = model.buffers[tensor.buffer]
    data = buffer.data
    dtype = names[tensor.type]
    integers: tuple[int, ...] = ()
    if data is not None and dtype == "INT32" and len(data) <= _SHORT:
        integers = struct.unpack(f"<{len(data) // 4}i", bytes(data)[: len(data) // 4 * 4])
    return Tensor(
        _text(tensor.name),
        dtype,
        tuple(int(size) for size in (free or _listed(tensor.shape))),
        # Large constants of a quantized model lie behind the flatbuffer, found by their offset.
        data is not None or buffer.offset > 1,
        integers,
    )


def _operator(place: int, entry: Any, model: Any, names: dict[int, str]) -> Operator:
    code = model.operatorCodes[entry.opcodeIndex]
    # Files of an older schema hold the code in the field of one byte.
    name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
    if name == "CUSTOM":
        name = f"CUSTOM {_text(code.customCode)}"
    return Operator(
        place,
        name,
        tuple(int(tensor) for tensor in _listed(entry.inputs) if tensor >= 0),
        tuple(int(tensor) for tensor in _listed(entry.outputs)),
        entry.builtinOptions,
    )
