"""Operators of an ONNX file with shapes and the user's lines, read without the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesdk.errors import MissingBackendError, SessionError
from edgesdk.frontend.provenance import PREPROCESSING, is_preprocessing, user_frame

__all__ = ["OnnxGraph", "OnnxNode", "read_onnx"]


@dataclass(frozen=True)
class OnnxNode:
    """One operator.

    Attributes:
        operator: Type, such as ``Conv``.
        domain: Domain; ``ai.onnx`` for the standard one.
        inputs: Names of values; empty for an absent one.
        outputs: Names of values.
        attributes: Numbers, texts and lists by name, without tensors and graphs.
        module: Path of the module in the user's model.
        where: File and line in the user's code.
        origin: The user's operator it was converted from.
    """

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict, hash=False)
    module: str = ""
    where: str = ""
    origin: str = ""


@dataclass(frozen=True)
class OnnxGraph:
    """The main graph.

    Attributes:
        nodes: In the order of the file, without constants.
        constants: Names of values that are the same in every run.
        shapes: Shapes of the values with a known number of axes; None for a free size.
        dtypes: Element types by value, such as ``FLOAT``.
    """

    nodes: tuple[OnnxNode, ...]
    constants: frozenset[str]
    shapes: dict[str, tuple[int | None, ...]]
    dtypes: dict[str, str]

    def dependencies(self) -> list[set[int]]:
        """Return, for each node, the nodes whose results it needs."""
        producers = {name: place for place, node in enumerate(self.nodes) for name in node.outputs}
        return [
            {producers[name] for name in node.inputs if name in producers} for node in self.nodes
        ]


def read_onnx(path: Path) -> OnnxGraph:
    """Read the main graph of a model.

    Raises:
        SessionError: The file is not an ONNX model.
        MissingBackendError: ``onnx`` is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingBackendError("onnx", "onnx") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
        # Shape inference needs the graph and small constants, not the weights.
        model = onnx.shape_inference.infer_shapes(model)
    except (DecodeError, OSError, ValueError, onnx.shape_inference.InferenceError) as error:
        raise SessionError(
            f"{path.name} is not an ONNX model: {error}",
            remedy="give a complete .onnx file",
        ) from error
    graph = model.graph
    if not graph.node and not graph.output:
        raise SessionError(
            f"{path.name} is not an ONNX model: it has no graph",
            remedy="give a complete .onnx file",
        )
    shapes: dict[str, tuple[int | None, ...]] = {}
    dtypes: dict[str, str] = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            shapes[value.name] = tuple(
                size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim
            )
        if tensor.elem_type:
            dtypes[value.name] = onnx.TensorProto.DataType.Name(tensor.elem_type)
    for weight in graph.initializer:
        shapes[weight.name] = tuple(weight.dims)
        dtypes[weight.name] = onnx.TensorProto.DataType.Name(weight.data_type)
    constants = {weight.name for weight in graph.initializer}
    constants.update(
        name for node in graph.node if node.op_type == "Constant" for name in node.output
    )
    nodes = tuple(_node(node, onnx) for node in graph.node if node.op_type != "Constant")
    return OnnxGraph(nodes, frozenset(constants), shapes, dtypes)


def _node(node: Any, onnx: Any) -> OnnxNode:
    plain = (
        onnx.AttributeProto.FLOAT,
        onnx.AttributeProto.FLOATS,
        onnx.AttributeProto.INT,
        onnx.AttributeProto.INTS,
        onnx.AttributeProto.STRING,
    )
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    frame = user_frame(metadata.get("pkg.torch.onnx.stack_trace", ""))
    place = str(frame) if frame else ""
    module, origin = _origin(metadata.get("namespace", ""))
    if is_preprocessing(_stack(metadata.get("namespace", ""))):
        module, place = "", PREPROCESSING
    return OnnxNode(
        operator=node.op_type,
        domain=node.domain or "ai.onnx",
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={
            entry.name: onnx.helper.get_attribute_value(entry)
            for entry in node.attribute
            if entry.type in plain
        },
        module=module,
        where=place,
        origin=origin,
    )


def _stack(namespace: str) -> dict[str, tuple[str, str]]:
    """Return the modules of ``: net.Net/b: net.Block/relu: aten.relu.default``, as captured."""
    layers = [layer.partition(": ") for layer in namespace.split("/")]
    return {path: (path, kind) for path, _, kind in layers[:-1]}


def _origin(namespace: str) -> tuple[str, str]:
    """Return module path and operator of ``: net.Net/b: net.Block/relu: aten.relu.default``."""
    layers = [layer.partition(": ") for layer in namespace.split("/")]
    if len(layers) < 2 or not layers[-1][2].startswith("aten."):
        return "", ""
    return layers[-2][0], layers[-1][2]
