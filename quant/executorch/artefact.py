"""Weights of a lowered ExecuTorch file, read from XNNPACK's graphs."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgesdk.quant.plan import Quantized, QuantizedLayer

__all__ = ["StoredWeights", "read_back", "stored_weights"]

#: Bits of a weight by XNNPACK type.
_BITS = {
    "xnn_datatype_fp32": 32,
    "xnn_datatype_fp16": 16,
    "xnn_datatype_qint8": 8,
    "xnn_datatype_qcint8": 8,
    "xnn_datatype_qcint4": 4,
    "xnn_datatype_qbint4": 4,
}
#: XNNPACK operators with weights, by ours.
_KINDS = {
    "conv1d": "XNNConv2d",
    "conv2d": "XNNConv2d",
    "conv_transpose1d": "XNNConvTranspose2d",
    "conv_transpose2d": "XNNConvTranspose2d",
    "depthwise": "XNNDepthwiseConv2d",
    "linear": "XNNFullyConnected",
}


@dataclass(frozen=True)
class StoredWeights:
    """Weights of one operator of a delegate.

    Attributes:
        kind: XNNPACK operator, such as ``XNNConv2d``.
        shape: Shape of the weights, in XNNPACK's order.
        bits: Bits of a weight.
        input_bits: Bits of the operator's input.
    """

    kind: str
    shape: tuple[int, ...]
    bits: int
    input_bits: int


def stored_weights(path: Path) -> list[StoredWeights]:
    """Read the operators with weights in the delegates of a ``.pte``, in order."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    program = deserialize_pte_binary(path.read_bytes()).program
    found = []
    for delegate in program.execution_plan[0].delegates:
        if delegate.id == "XnnpackBackend":
            data = bytes(program.backend_delegate_data[delegate.processed.index].data)
            found += list(_weights(_graph(data)))
    return found


def _graph(data: bytes) -> Any:
    """Decode a delegate's graph to JSON; its constants lie elsewhere in the file."""
    from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as serialize
    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    header = serialize.XNNHeader.from_bytes(data[: serialize.XNNHeader.EXPECTED_LENGTH])
    begin = header.flatbuffer_offset
    with tempfile.TemporaryDirectory(prefix="edgesdk-pte-") as name:
        folder = Path(name)
        schema, binary = folder / "schema.fbs", folder / "graph.bin"
        schema.write_bytes(serialize._get_schema_bytes())
        binary.write_bytes(data[begin : begin + header.flatbuffer_size])
        _flatc_decompile(name, str(schema), str(binary), ["--raw-binary"])
        text = (folder / "graph.json").read_text(encoding="utf-8")
    # flatc writes infinity and NaN as in C, which is not valid JSON.
    return json.loads(re.sub(r"(?<=: )([-+]?)(inf|nan)\b", "0", text))


def _weights(graph: Any) -> Iterator[StoredWeights]:
    values = {}
    for value in graph["xvalues"]:
        union = value["xvalue_union"]
        tensor = union.get("tensor_value", union)
        values[tensor["id_out"]] = tensor
    for node in graph["xnodes"]:
        kind, union = node["xnode_union_type"], node["xnode_union"]
        if kind not in _KINDS.values():
            continue
        weight = values[union["filter_id"]]
        taken = values[union["input1_id"]]["datatype"]
        yield StoredWeights(
            kind=kind,
            shape=tuple(int(size) for size in weight["dims"]),
            bits=_BITS[weight["datatype"]],
            input_bits=8 if "int8" in taken else _BITS[taken],
        )


def read_back(quantized: Quantized, path: Path) -> Quantized:
    """Replace the bits of every layer by those in the file.

    Undelegated layers keep the bits of the program and get a reason.

    Args:
        quantized: Result of the quantizer, before lowering.
        path: The ``.pte``.
    """
    left = stored_weights(path)
    layers = []
    for layer in quantized.layers:
        match = next((item for item in left if _fits(layer, item)), None)
        if match is None:
            reason = layer.reason or "XNNPACK did not take the layer"
            layers.append(replace(layer, reason=reason))
            continue
        left.remove(match)
        layers.append(replace(layer, bits=match.bits, activation_bits=match.input_bits))
    return replace(quantized, layers=tuple(layers))


def _fits(layer: QuantizedLayer, stored: StoredWeights) -> bool:
    return _KINDS.get(layer.operator) == stored.kind and layer.weights == math.prod(stored.shape)
