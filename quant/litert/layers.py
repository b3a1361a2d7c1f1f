"""Layers of a ``.tflite`` file: operators with constant weights, and their modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgesdk.quant.fake_quantization.operators import argument
from edgesdk.quant.layer_names import layer_path, operator_name
from edgesdk.quant.litert.file import LitertModel, LitertOperator, LitertTensor
from edgesdk.quant.plan import QuantizedLayer

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

__all__ = ["LitertLayer", "find_layers", "layer_paths", "read_layers", "weighted_operators"]

#: Positions of weight inputs and the axis of their output channels, by operator.
_WEIGHTS: dict[str, tuple[tuple[int, int], ...]] = {
    "BATCH_MATMUL": ((1, -1), (0, -2)),
    "CONV_2D": ((1, 0),),
    "CONV_3D": ((1, -1),),
    "DEPTHWISE_CONV_2D": ((1, -1),),
    "EMBEDDING_LOOKUP": ((1, 0),),
    "FULLY_CONNECTED": ((1, 0),),
    "GATHER": ((0, 0),),
    "TRANSPOSE_CONV": ((1, 0),),
}
_LABELS = {
    "BATCH_MATMUL": "linear",
    "CONV_2D": "conv2d",
    "CONV_3D": "conv3d",
    "DEPTHWISE_CONV_2D": "depthwise",
    "EMBEDDING_LOOKUP": "embedding",
    "FULLY_CONNECTED": "linear",
    "GATHER": "embedding",
    "TRANSPOSE_CONV": "conv_transpose2d",
}
#: Position of the activation input, by operator.
_ACTIVATION = {"TRANSPOSE_CONV": 2, "EMBEDDING_LOOKUP": 0}

#: Operators of a program that move constants without changing values.
_MOVING = frozenset(
    {
        *("alias", "clone", "contiguous", "detach", "permute", "reshape", "squeeze", "t"),
        *("transpose", "unsqueeze", "view"),
    }
)
#: Largest difference between fingerprints of the same weights.
_SAME = 1e-3


@dataclass(frozen=True)
class LitertLayer:
    """One operator with constant weights.

    Attributes:
        operator: The operator.
        kind: ``conv2d``, ``depthwise``, ``conv_transpose2d``, ``linear``, ``embedding``, ...
        slot: Position of the weight among the inputs.
        weight: The constant, behind any operators that decode it.
        axis: Axis of the output channels; never negative.
        activation: Index of the tensor that is multiplied by the weights.
    """

    operator: LitertOperator
    kind: str
    slot: int
    weight: LitertTensor
    axis: int
    activation: int

    @property
    def weights(self) -> int:
        """Number of weights."""
        return int(np.prod(self.weight.shape))

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Return weights as one row per output channel, ``[out, in]``.

        Args:
            values: Weights in the operator's layout.
        """
        return np.moveaxis(values, self.axis, 0).reshape(values.shape[self.axis], -1)

    def unrolled(self, rows: np.ndarray) -> np.ndarray:
        """Return rows in the operator's layout; the inverse of :meth:`rows`."""
        shape = list(self.weight.shape)
        moved = [shape.pop(self.axis), *shape]
        return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, self.axis))


def weighted_operators(model: LitertModel) -> list[LitertLayer]:
    """Find the operators with constant weights, in the order of execution."""
    producers = model.producers()
    found = []
    for operator in model.operators:
        for slot, axis in _WEIGHTS.get(operator.name, ()):
            if slot >= len(operator.inputs):
                continue
            weight = _constant(model, producers, operator.inputs[slot])
            if weight is not None:
                other = _ACTIVATION.get(operator.name, 0 if slot else 1)
                found.append(
                    LitertLayer(
                        *(operator, _LABELS[operator.name], slot, weight),
                        *(axis % len(weight.shape), operator.inputs[other]),
                    )
                )
                break
    return found


def _constant(
    model: LitertModel, producers: dict[int, LitertOperator], index: int
) -> LitertTensor | None:
    tensor = model.tensors[index]
    if tensor.constant:
        integers = not tensor.quantized and not tensor.dtype.startswith("FLOAT")
        return tensor if len(tensor.shape) > 1 and not integers else None
    producer = producers.get(index)
    if producer is not None and producer.name == "DEQUANTIZE":
        return _constant(model, producers, producer.inputs[0])
    return None


@dataclass(frozen=True)
class _ProgramLayer:
    path: str
    rows: tuple[int, int]
    fingerprint: np.ndarray


def layer_paths(model: LitertModel, program: ExportedProgram) -> list[str]:
    """Find the module path of each of :func:`weighted_operators` of a float model.

    Layers are matched by their weights: the converter permutes axes and scales output channels by
    the factors of a normalization, but keeps the proportions within a channel. Layers without a
    match are matched by their position between others.

    Args:
        model: Float model.
        program: Program it was converted from.
    """
    layers = weighted_operators(model)
    known = _program_layers(program)
    places = _recognised(layers, known)
    paths = []
    for order, layer in enumerate(layers):
        place = places[order]
        if place is None:
            place = _between(order, layer, places, known)
        paths.append(known[place].path if place is not None else _tensor_path(model, layer))
    return paths


def _recognised(layers: Sequence[LitertLayer], known: Sequence[_ProgramLayer]) -> list[int | None]:
    free = set(range(len(known)))
    places: list[int | None] = []
    for layer in layers:
        rows = layer.rows(layer.weight.values())
        own = _fingerprint(rows)
        same = [
            place
            for place, candidate in enumerate(known)
            if candidate.rows == rows.shape and np.abs(candidate.fingerprint - own).max() < _SAME
        ]
        # A module that is called twice has its weights twice: assign them in order.
        place = next((place for place in same if place in free), same[0] if same else None)
        free.discard(-1 if place is None else place)
        places.append(place)
    return places


def _between(
    order: int,
    layer: LitertLayer,
    places: Sequence[int | None],
    known: Sequence[_ProgramLayer],
) -> int | None:
    taken = {place for place in places if place is not None}
    before = max((p for p in places[:order] if p is not None), default=-1)
    after = min(
        (p for p in places[order + 1 :] if p is not None and p > before), default=len(known)
    )
    left = [place for place in range(before + 1, after) if place not in taken]
    alike = [place for place in left if np.prod(known[place].rows) == layer.weights]
    missing = [number for number, place in enumerate(places) if place is None and number <= order]
    first = next((p for p in range(order, -1, -1) if places[p] is not None), -1)
    # The n-th operator of a gap is the n-th layer of its size in the gap.
    turn = sum(number > first for number in missing) - 1
    choices = alike or left
    return choices[min(turn, len(choices) - 1)] if choices else None


def _fingerprint(rows: np.ndarray) -> np.ndarray:
    """Return the weights' proportions per output channel, independent of order and scale."""
    magnitude = np.abs(rows.astype(np.float64))
    largest = magnitude.max(axis=1, keepdims=True, initial=0.0)
    share = magnitude / np.where(largest > 0, largest, 1.0)
    return np.stack([(share**power).mean(axis=1) for power in (1, 2, 4)], axis=1)


def _program_layers(program: ExportedProgram) -> list[_ProgramLayer]:
    constants = _Constants(program)
    found = []
    for node in program.graph.nodes:
        for rows in _weight_rows(node, constants):
            found.append(_ProgramLayer(layer_path(node), rows.shape, _fingerprint(rows)))
            break
    return found


class _Constants:
    """Values of a program's nodes that do not depend on its inputs."""

    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature
        self._names = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self._program = program

    def value(self, node: Any) -> Any:
        """Return a tensor; None if the node depends on an input."""
        name = self._names.get(getattr(node, "name", ""))
        if name is not None:
            stored = self._program.state_dict.get(name)
            return self._program.constants.get(name) if stored is None else stored
        if operator_name(node) in _MOVING if hasattr(node, "op") else False:
            moved = self.value(node.args[0])
            if moved is not None:
                return node.target(moved.detach(), *node.args[1:], **node.kwargs)
        return None


def _weight_rows(node: Node, constants: _Constants) -> Iterable[np.ndarray]:
    """Yield the constant weights of a node as ``[out, in]``."""
    name = operator_name(node)
    if name.startswith("conv") and name.removeprefix("conv_transpose")[-2:] in ("1d", "2d", "3d"):
        weight = constants.value(argument(node, "weight"))
        if weight is not None:
            array = weight.detach().numpy()
            if "transpose" in name:
                groups = int(argument(node, "groups") or 1)
                split = array.reshape(groups, array.shape[0] // groups, *array.shape[1:])
                array = np.moveaxis(split, 2, 1).reshape(groups * array.shape[1], -1)
            yield array.reshape(array.shape[0], -1)
    elif name in ("linear", "embedding"):
        weight = constants.value(argument(node, "weight"))
        if weight is not None:
            yield weight.detach().numpy()
    elif name in ("addmm", "bmm", "matmul", "mm"):
        first = 1 if name == "addmm" else 0
        for place, axis in ((first + 1, -1), (first, -2)):
            weight = constants.value(node.args[place])
            if weight is not None and weight.ndim > 1:
                array = np.moveaxis(weight.detach().numpy(), axis, 0)
                yield array.reshape(array.shape[0], -1)


def _tensor_path(model: LitertModel, layer: LitertLayer) -> str:
    """Return the last part of the result's name."""
    name = model.tensors[layer.operator.outputs[0]].name
    parts = [part for part in name.split(";") if part]
    return parts[-1].rpartition("/")[2] if parts else f"operator {layer.operator.index}"


def find_layers(model: LitertModel, paths: Sequence[str]) -> list[tuple[LitertLayer, str]]:
    """Return operators with weights and their module paths, for a float or quantized model.

    Args:
        model: The float model of the paths, or its quantized form: quantization inserts operators,
            but those with weights keep their order.
        paths: See :func:`layer_paths`.
    """
    return list(zip(weighted_operators(model), paths, strict=True))


def read_layers(
    model: LitertModel, paths: Sequence[str], reasons: dict[str, str]
) -> tuple[QuantizedLayer, ...]:
    """Read the quantization of the layers from the types of a file's tensors.

    Operators of one module count as one layer.

    Args:
        model: Quantized model.
        paths: See :func:`layer_paths`.
        reasons: Reasons for layers that stayed float, by path.
    """
    found: dict[tuple[str, str], list[LitertLayer]] = {}
    for layer, path in find_layers(model, paths):
        found.setdefault((path, layer.kind), []).append(layer)
    records = []
    for (path, kind), layers in found.items():
        distinct = {layer.weight.index: layer for layer in layers}
        bits = max(layer.weight.bits for layer in layers)
        records.append(
            QuantizedLayer(
                path,
                kind,
                sum(layer.weights for layer in distinct.values()),
                bits,
                max(_activation_bits(model, layer) for layer in layers),
                reason=reasons.get(path, "") if bits > 16 else "",
            )
        )
    return tuple(records)


def _activation_bits(model: LitertModel, layer: LitertLayer) -> int:
    activation = model.tensors[layer.activation]
    if activation.quantized or activation.dtype == "FLOAT16":
        return activation.bits
    # Integer weights beside a float input: the operator quantizes its input at run time.
    dynamic = model.tensors[layer.operator.inputs[layer.slot]].quantized
    return 8 if dynamic and layer.kind != "embedding" else 32
