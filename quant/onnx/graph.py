"""Editing of ONNX graphs: constants by name, unique names, insertion of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.errors import MissingBackendError, QuantizationError

__all__ = ["OnnxGraph", "attribute", "is_quantized", "read_model"]

#: Operators of quantized models.
_QUANTIZED_OPERATORS = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "GatherBlockQuantized",
        "MatMulBnb4",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
        "QuantizeLinear",
    }
)
#: Oldest supported operator set; several operators differ in older ones.
_OLDEST = 18
#: First operator set with integers of 4 and 16 bits.
_SMALL_INTEGERS = 21


def read_model(path: Path) -> Any:
    """Read a model with its weights.

    Raises:
        MissingBackendError: ``onnx`` is not installed.
        QuantizationError: The file is not an ONNX model.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingBackendError("onnx", "onnx") from error
    try:
        model = onnx.load(str(path))
    except (DecodeError, OSError, ValueError) as error:
        raise QuantizationError(
            f"cannot read {path.name} as an ONNX model: {error}", remedy="convert it again"
        ) from error
    if not model.graph.node and not model.graph.output:
        raise QuantizationError(f"{path.name} does not hold a graph", remedy="convert it again")
    return model


def is_quantized(model: Any) -> bool:
    """Return True if a model has integer operators or quantized weights."""
    import onnx

    small = {
        weight.name
        for weight in model.graph.initializer
        if len(weight.dims) > 1
        and onnx.TensorProto.DataType.Name(weight.data_type).lower()
        in ("int8", "uint8", "int4", "uint4", "int2", "uint2")
    }
    half = {
        weight.name
        for weight in model.graph.initializer
        if len(weight.dims) > 1
        and weight.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    }
    return any(
        node.op_type in _QUANTIZED_OPERATORS
        or node.op_type.startswith("QLinear")
        or (node.op_type == "Cast" and node.input[0] in small)
        or any(name in half for name in node.input)
        for node in model.graph.node
    )


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a node, or the default if it is absent."""
    import onnx

    for entry in node.attribute:
        if entry.name == name:
            value = onnx.helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


class OnnxGraph:
    """Editor of a model's main graph.

    Every node gets a name, and constants become initializers.

    Args:
        model: Model, changed in place.

    Raises:
        QuantizationError: The operator set is too old.
    """

    def __init__(self, model: Any) -> None:
        import onnx

        self._onnx = onnx
        self.model = model
        self.graph = model.graph
        self.opset = max(
            (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
            default=0,
        )
        if self.opset < _OLDEST:
            raise QuantizationError(
                f"the model has ONNX operator set {self.opset}; {_OLDEST} or later is needed",
                remedy="convert the model again",
            )
        self._constants_to_initializers()
        self._initializers = {weight.name: weight for weight in self.graph.initializer}
        self._names = {value.name for value in self.graph.input} | set(self._initializers)
        for node in self.graph.node:
            self._names.update(node.output)
            self._names.add(node.name)
        for node in self.graph.node:
            if not node.name:
                node.name = self.fresh(f"{node.op_type}_{node.output[0]}")
        self._before: dict[str, list[Any]] = {}

    @property
    def inputs(self) -> list[Any]:
        """Value infos of the inputs, without constants."""
        return [value for value in self.graph.input if value.name not in self._initializers]

    def _constants_to_initializers(self) -> None:
        kept = []
        for node in self.graph.node:
            value = attribute(node, "value") if node.op_type == "Constant" else None
            if value is None:
                kept.append(node)
                continue
            weight = self._onnx.TensorProto()
            weight.CopyFrom(value)
            weight.name = node.output[0]
            self.graph.initializer.append(weight)
        if len(kept) != len(self.graph.node):
            del self.graph.node[:]
            self.graph.node.extend(kept)

    def is_constant(self, name: str) -> bool:
        """Return True if a value is constant."""
        return name in self._initializers

    def array(self, name: str) -> np.ndarray:
        """Return a constant; integers of fewer than 8 bits as ``int8`` or ``uint8``."""
        array = np.asarray(self._onnx.numpy_helper.to_array(self._initializers[name]))
        if array.dtype.kind not in "biufc":
            wide = {"int4": "int8", "int2": "int8", "uint4": "uint8", "uint2": "uint8"}
            array = array.astype(wide.get(array.dtype.name, "float32"))
        return array

    def bits(self, name: str) -> int:
        """Return the bits of one element of a constant."""
        kind = self._onnx.TensorProto.DataType.Name(self._initializers[name].data_type)
        digits = "".join(filter(str.isdigit, kind))
        return {"FLOAT": 32, "DOUBLE": 64, "BOOL": 8}.get(kind, int(digits or 32))

    def is_integer(self, name: str) -> bool:
        """Return True if a constant holds integers."""
        kind = self._onnx.TensorProto.DataType.Name(self._initializers[name].data_type)
        return "INT" in kind

    def fresh(self, name: str) -> str:
        """Reserve a unique name made from ``name``, and return it."""
        found, count = name, 1
        while not found or found in self._names:
            count += 1
            found = f"{name}_{count}"
        self._names.add(found)
        return found

    def constant(self, name: str, array: np.ndarray, *, bits: int = 0) -> str:
        """Add a constant.

        Args:
            name: Name, made unique.
            array: Values.
            bits: 4 to store integers in 4 bits.

        Returns:
            The unique name.
        """
        found = self.fresh(name)
        if bits == 4:
            import ml_dtypes

            array = array.astype(ml_dtypes.uint4 if array.dtype.kind == "u" else ml_dtypes.int4)
            self.need_small_integers()
        self.graph.initializer.append(self._onnx.numpy_helper.from_array(array, found))
        self._initializers[found] = self.graph.initializer[-1]
        return found

    def set_constant(self, name: str, array: np.ndarray) -> None:
        """Replace the values of a constant."""
        self._initializers[name].CopyFrom(self._onnx.numpy_helper.from_array(array, name))

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | str,
        *,
        name: str,
        **attributes: Any,
    ) -> Any:
        """Make a node with a unique name, without inserting it."""
        results = [outputs] if isinstance(outputs, str) else list(outputs)
        return self._onnx.helper.make_node(
            operator, list(inputs), results, self.fresh(name), **attributes
        )

    def put_before(self, node: Any, added: Iterable[Any]) -> None:
        """Insert nodes before another one, behind nodes inserted there earlier."""
        self._before.setdefault(node.name, []).extend(added)

    def replace(self, replaced: Mapping[str, Sequence[Any]]) -> None:
        """Apply the insertions, and replace some nodes.

        Args:
            replaced: Replacement nodes by the name of the replaced node.
        """
        nodes: list[Any] = []
        for node in self.graph.node:
            nodes.extend(self._before.pop(node.name, ()))
            nodes.extend(replaced.get(node.name, (node,)))
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        self.drop_unused()

    def drop_unused(self) -> None:
        """Remove unused constants and value infos."""
        used = {name for node in self.graph.node for name in node.input}
        used.update(name for node in self.graph.node for name in _names_in_bodies(node))
        used.update(value.name for value in self.graph.output)
        kept = [weight for weight in self.graph.initializer if weight.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        self._initializers = {weight.name: weight for weight in self.graph.initializer}
        computed = {name for node in self.graph.node for name in node.output}
        notes = [value for value in self.graph.value_info if value.name in computed]
        del self.graph.value_info[:]
        self.graph.value_info.extend(notes)

    def producers(self) -> dict[str, Any]:
        """Return the node that computes each value, by value name."""
        return {name: node for node in self.graph.node for name in node.output if name}

    def consumers(self) -> dict[str, list[Any]]:
        """Return the nodes that read each value, by value name."""
        found: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in dict.fromkeys(node.input):
                if name:
                    found.setdefault(name, []).append(node)
        return found

    def need_small_integers(self) -> None:
        """Raise the operator set to the first with integers of 4 and 16 bits."""
        if self.opset >= _SMALL_INTEGERS:
            return
        for node in self.graph.node:
            if node.op_type == "GroupNormalization":
                # The only operator whose definition changed in between.
                raise QuantizationError(
                    "GroupNormalization differs in operator set 21, which this recipe needs",
                    remedy="use a recipe of 8 bits, or another normalization",
                )
        for entry in self.model.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = _SMALL_INTEGERS
        self.opset = _SMALL_INTEGERS
        self.model.ir_version = max(self.model.ir_version, 10)

    def save(self, path: Path) -> None:
        """Write the model; equal models give equal bytes."""
        path.write_bytes(self.model.SerializeToString(deterministic=True))


def _names_in_bodies(node: Any) -> Iterable[str]:
    for entry in node.attribute:
        for body in (entry.g, *entry.graphs):
            for inner in body.node:
                yield from inner.input
                yield from _names_in_bodies(inner)
            for value in body.output:
                yield value.name
