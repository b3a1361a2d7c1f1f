"""Check an ONNX model before a runtime loads it: protocol buffer, operator sets, weight files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edgesdk.errors import MissingBackendError, SessionError
from edgesdk.runtime.error_translation import damaged_file, first_line

__all__ = ["check_onnx"]

_KIND = "ONNX model (.onnx)"
#: Largest nesting of graphs in branches of If and Loop; exporters stay far below.
_MAX_DEPTH = 32


def check_onnx(path: Path, data: bytes) -> bool:
    """Check that a model parses, follows its operator sets and keeps to its folder.

    Args:
        path: The file; external weights must lie in the same folder.
        data: Content of the file.

    Returns:
        True if it has weights in other files.

    Raises:
        MissingBackendError: The package ``onnx`` is not installed.
        SessionError: The file is damaged or refers to a file outside its folder.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingBackendError("onnx", "onnx") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise damaged_file(path, _KIND, "it is not a protocol buffer") from error
    if not model.graph.node and not model.graph.output:
        raise damaged_file(path, _KIND, "it holds no graph")
    external = False
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            external = True
            _check_external(path, {entry.key: entry.value for entry in tensor.external_data})
    try:
        # Given a path, the checker includes external weights.
        onnx.checker.check_model(os.fspath(path) if external else data)
    except (onnx.checker.ValidationError, ValueError, RuntimeError, MemoryError) as error:
        raise damaged_file(path, _KIND, first_line(error)) from error
    return external


def _check_external(path: Path, entries: dict[str, str]) -> None:
    location = entries.get("location", "")
    parts = PurePosixPath(location).parts + PureWindowsPath(location).parts
    windows = PureWindowsPath(location)
    if (
        not location
        or "\0" in location
        or ".." in parts
        or PurePosixPath(location).is_absolute()
        or windows.drive
        or windows.root
    ):
        raise SessionError(
            f"{path.name} keeps weights in {location!r}, outside its folder",
            where=str(path),
            remedy="do not use this file; export the model again",
        )
    weights = path.parent / location
    folder = path.parent.resolve()
    if not weights.resolve().is_relative_to(folder):
        raise SessionError(
            f"{path.name} keeps weights behind a link out of its folder: {location!r}",
            where=str(path),
            remedy="do not use this file; export the model again",
        )
    if not weights.is_file():
        raise SessionError(
            f"{path.name} keeps weights in {location!r}, which is missing",
            where=str(path),
            remedy="copy that file beside the model",
        )
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "0"))
    except ValueError as error:
        raise damaged_file(
            path, _KIND, "the offset or length of its weights is not a number"
        ) from error
    if offset < 0 or length < 0 or offset + length > weights.stat().st_size:
        raise damaged_file(path, _KIND, f"its weights extend beyond the end of {location!r}")


def _tensors(model: Any) -> Iterator[Any]:
    """Iterate over every tensor of a model, including nested graphs and functions."""
    yield from _graph_tensors(model.graph, 0)
    for function in model.functions:
        yield from _node_tensors(function.node, 0)


def _graph_tensors(graph: Any, depth: int) -> Iterator[Any]:
    if depth > _MAX_DEPTH:
        raise SessionError(f"the model nests graphs deeper than {_MAX_DEPTH} levels")
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node, depth)


def _node_tensors(nodes: Iterable[Any], depth: int) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield sparse.values
                yield sparse.indices
            for graph in (attribute.g, *attribute.graphs):
                if graph.node or graph.initializer or graph.sparse_initializer:
                    yield from _graph_tensors(graph, depth + 1)
