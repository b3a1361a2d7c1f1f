"""Read a LiteRT model (``.tflite``) without its runtime: structure and names."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from edgesdk.runtime.error_translation import damaged_file
from edgesdk.runtime.flatbuffer import FlatbufferError, FlatTable, check_indices, root_table

__all__ = ["TfliteContents", "read_tflite"]

_KIND = "LiteRT model (.tflite)"
_IDENTIFIER = b"TFL3"

# Slots of the tables, in the order of the TFLite schema.
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_SIGNATURES = 1, 2, 4, 7
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_SHAPE, _TENSOR_BUFFER, _TENSOR_NAME = 0, 2, 3
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY, _SIGNATURE_GRAPH = 0, 1, 2, 4
_MAX_ELEMENTS = 2**31
#: Index of an omitted optional operator input.
_ABSENT = -1


@dataclass(frozen=True)
class TfliteContents:
    """Names of the inputs and outputs of a model's main graph.

    Attributes:
        input_names: Input names in the first signature by tensor index; empty without signatures.
        output_names: Output names in the first signature by tensor index.
        signature: Key of that signature.
    """

    input_names: dict[int, str] = field(default_factory=dict)
    output_names: dict[int, str] = field(default_factory=dict)
    signature: str = ""


def read_tflite(path: str | os.PathLike[str], data: bytes) -> TfliteContents:
    """Check that every reference in a model is valid.

    Args:
        path: Path of the file, for messages.
        data: Content of the file.

    Raises:
        SessionError: The file is damaged or not a LiteRT model.
    """
    try:
        if len(data) < 16 or data[4:8] != _IDENTIFIER:
            raise FlatbufferError("the identifier TFL3 is missing at byte 4")
        model = root_table(data)
        codes = sum(1 for _ in model.tables(_MODEL_CODES))
        buffers = sum(_check_buffer(buffer, len(data)) for buffer in model.tables(_MODEL_BUFFERS))
        tensors = [_check_graph(graph, codes, buffers) for graph in model.tables(_MODEL_SUBGRAPHS)]
        if not tensors:
            raise FlatbufferError("it holds no graph")
        return _read_signatures(model, tensors)
    except FlatbufferError as error:
        raise damaged_file(path, _KIND, str(error)) from error


def _check_buffer(buffer: FlatTable, size: int) -> int:
    buffer.length(0, 1)
    # Weights beyond 2 GiB follow the FlatBuffer, at an offset with a size.
    if buffer.number(1, "Q") + buffer.number(2, "Q") > size:
        raise FlatbufferError("weights extend beyond the end of the file")
    return 1


def _check_graph(graph: FlatTable, codes: int, buffers: int) -> int:
    tensors = 0
    for tensor in graph.tables(_GRAPH_TENSORS):
        elements = 1
        for size in tensor.numbers(_TENSOR_SHAPE, "i"):
            elements *= size
            if size < 0 or elements > _MAX_ELEMENTS:
                raise FlatbufferError(f"tensor {tensors} has an impossible shape")
        if tensor.number(_TENSOR_BUFFER, "I") >= max(buffers, 1):
            raise FlatbufferError(f"the weights of tensor {tensors} are missing")
        # The interpreter's Python wrapper decodes names unchecked.
        tensor.text(_TENSOR_NAME)
        tensors += 1
    for slot in (_GRAPH_INPUTS, _GRAPH_OUTPUTS):
        check_indices("tensor", graph.numbers(slot, "i"), tensors)
    for operator in graph.tables(_GRAPH_OPERATORS):
        if operator.number(0, "I") >= codes:
            raise FlatbufferError("an operator has no type")
        inputs = [index for index in operator.numbers(1, "i") if index != _ABSENT]
        check_indices("tensor", inputs, tensors)
        check_indices("tensor", operator.numbers(2, "i"), tensors)
    return tensors


def _read_signatures(model: FlatTable, tensors: list[int]) -> TfliteContents:
    found: TfliteContents | None = None
    for signature in model.tables(_MODEL_SIGNATURES):
        graph = signature.number(_SIGNATURE_GRAPH, "I")
        if graph >= len(tensors):
            raise FlatbufferError("a signature belongs to a graph that is missing")
        names = []
        for slot in (_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS):
            pairs = {item.number(1, "I"): item.text(0) for item in signature.tables(slot)}
            check_indices("tensor", pairs, tensors[graph])
            names.append(pairs)
        if graph == 0 and found is None:
            found = TfliteContents(names[0], names[1], signature.text(_SIGNATURE_KEY))
    return found or TfliteContents()
