"""Operators and types of a Core ML package, read without loading the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesdk.errors import MissingBackendError, SessionError

__all__ = ["MilGraph", "MilOperator", "MilType", "read_package"]


@dataclass(frozen=True)
class MilType:
    """Type of one variable.

    Attributes:
        dtype: ``fp16``, ``fp32``, ``int32``, ``bool`` and the like.
        shape: Sizes; None for a free one.
    """

    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class MilOperator:
    """One operator other than a constant.

    Attributes:
        name: Its type, such as ``conv``.
        inputs: Names of the variables it reads, without constants.
        outputs: Names of the variables it computes.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class MilGraph:
    """The main function.

    Attributes:
        operators: In the order of execution, without constants.
        types: Types of all variables that are not constants.
        enumerated: True if free shapes are a list, not a range.
    """

    operators: tuple[MilOperator, ...]
    types: dict[str, MilType]
    enumerated: bool

    def dependencies(self) -> list[set[int]]:
        """Return, for each operator, the operators whose results it needs."""
        producers = {
            name: place
            for place, operator in enumerate(self.operators)
            for name in operator.outputs
        }
        return [
            {producers[name] for name in operator.inputs if name in producers}
            for operator in self.operators
        ]


def read_package(path: Path) -> MilGraph:
    """Read the main function of a package.

    Raises:
        SessionError: The file is not a package with an ML Program.
        MissingBackendError: coremltools is not installed.
    """
    try:
        import coremltools
        from coremltools.proto import MIL_pb2
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingBackendError("coremltools", "coreml") from error
    try:
        specification = coremltools.models.utils.load_spec(str(path))
    except (DecodeError, OSError, RuntimeError, ValueError) as error:
        raise SessionError(
            f"{path.name} is not a Core ML package: {error}",
            remedy="give a complete .mlpackage folder",
        ) from error
    if specification.WhichOneof("Type") != "mlProgram":
        raise SessionError(
            f"{path.name} does not hold an ML Program",
            remedy='convert it with convert_to="mlprogram"',
        )
    function = specification.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    names = MIL_pb2.DataType.items()
    dtypes = {number: _dtype(name) for name, number in names}
    types = {value.name: _type(value.type, dtypes) for value in function.inputs}
    operators = []
    for operation in block.operations:
        if operation.type == "const" or operation.type.startswith("constexpr_"):
            continue
        inputs = tuple(
            argument.name
            for bound in operation.inputs.values()
            for argument in bound.arguments
            if argument.name in types
        )
        for value in operation.outputs:
            types[value.name] = _type(value.type, dtypes)
        outputs = tuple(value.name for value in operation.outputs)
        operators.append(MilOperator(operation.type, inputs, outputs))
    return MilGraph(tuple(operators), types, _is_enumerated(specification))


def _dtype(name: str) -> str:
    return name.lower().replace("float", "fp")


def _type(value: Any, dtypes: dict[int, str]) -> MilType:
    tensor = value.tensorType
    shape = tuple(
        int(size.constant.size) if size.WhichOneof("dimension") == "constant" else None
        for size in tensor.dimensions
    )
    return MilType(dtypes.get(tensor.dataType, "unknown"), shape)


def _is_enumerated(specification: Any) -> bool:
    kinds = []
    for feature in specification.description.input:
        array, image = feature.type.multiArrayType, feature.type.imageType
        kinds += [array.WhichOneof("ShapeFlexibility"), image.WhichOneof("SizeFlexibility")]
    found = {kind for kind in kinds if kind}
    return bool(found) and found <= {"enumeratedShapes", "enumeratedSizes"}
