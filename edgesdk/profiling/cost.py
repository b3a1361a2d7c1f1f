"""Cost of a model: parameters, multiply-accumulates and memory, layer by layer.

Arithmetic is counted at the operators that a forward pass calls, so functional calls, attention and
custom modules count like layers do. The pass runs on tensors with shapes but no values, if the
model allows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgesdk.errors import InputSpecError
from edgesdk.profiling.cost_trace import Trace, owner, trace
from edgesdk.profiling.layer_kinds import kind_of

__all__ = ["LayerCost", "ModelCost", "count"]


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer, or of a module's arithmetic outside of its layers.

    Attributes:
        name: Path of the module; empty for the model's own operators.
        kind: Description of the layer, such as ``Conv2d 3x3 /2``.
        output_shape: Shape of its last output for one sample; empty if it never ran or returns no
            tensor.
        macs: Multiply-accumulates for one sample, over all calls.
        weight_bits: Bits per weight: the module's ``weight_bits``, else those of its dtype.
        activation_bits: Bits per activation: the module's ``activation_bits``, else those of the
            output.
        params_by_bits: Number of parameters by bits per parameter. Shared parameters count in the
            first layer only.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    macs: int
    weight_bits: int
    activation_bits: int
    params_by_bits: Mapping[int, int]

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(self.params_by_bits.values())

    @property
    def mac_bits(self) -> int:
        """Bits of its arithmetic: those of the wider operand."""
        return max(self.weight_bits, self.activation_bits)

    @property
    def memory_bytes(self) -> int:
        """Bytes of its parameters at their precision, rounded up."""
        return _bytes(self.params_by_bits)

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as plain JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "output_shape": list(self.output_shape),
            "params": self.params,
            "macs": self.macs,
            "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits,
            "memory_bytes": self.memory_bytes,
        }


@dataclass(frozen=True)
class ModelCost:
    """Cost of a whole model.

    Attributes:
        rows: Layers in the order in which they first ran, then those that did not run.
        size_bytes: Bytes of parameters and buffers as torch stores them, shared ones once.
    """

    rows: tuple[LayerCost, ...]
    size_bytes: int

    @property
    def params(self) -> int:
        """Number of parameters, shared ones once."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return sum(row.macs for row in self.rows)

    @property
    def params_by_bits(self) -> dict[int, int]:
        """Number of parameters by bits per parameter, in ascending order."""
        return _added(row.params_by_bits for row in self.rows)

    @property
    def macs_by_bits(self) -> dict[int, int]:
        """Multiply-accumulates by bits of the wider operand, in ascending order."""
        return _added({row.mac_bits: row.macs} for row in self.rows)

    @property
    def memory_bytes(self) -> int:
        """Bytes of all parameters at their own precision, rounded up once."""
        return _bytes(self.params_by_bits)

    def to_dict(self) -> dict[str, Any]:
        """Return the cost as plain JSON."""
        return {
            "params": self.params,
            "macs": self.macs,
            "size_bytes": self.size_bytes,
            "memory_bytes": self.memory_bytes,
            "params_by_bits": {str(bits): n for bits, n in self.params_by_bits.items()},
            "macs_by_bits": {str(bits): n for bits, n in self.macs_by_bits.items()},
            "layers": [row.to_dict() for row in self.rows],
        }


def _added(counts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for one in counts:
        total.update(one)
    return {bits: total[bits] for bits in sorted(total) if total[bits]}


def _bytes(counts: Mapping[int, int]) -> int:
    return -(-sum(bits * number for bits, number in counts.items()) // 8)


def count(model: nn.Module, inputs: Any) -> ModelCost:
    """Count the cost of a model for one sample, in evaluation mode.

    The model, its modes and hooks, and the random state stay unchanged. A model with data-dependent
    control flow runs once on the inputs, every other model on shapes only. No other thread may use
    the model meanwhile.

    Args:
        model: Any module, in any mode, including the module of an exported program.
        inputs: Example inputs: a tensor, a tuple of positional or a dictionary of keyword
            arguments, which may be nested. If all tensors share their first size, that is the batch
            size, and the arithmetic is divided by it.

    Raises:
        InputSpecError: The inputs contain no tensor, or the model fails on them.
    """
    args, kwargs = _arguments(inputs)
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if not tensors:
        raise InputSpecError(
            "the inputs contain no tensor",
            remedy="pass a tensor, a tuple of arguments or a dictionary of keyword arguments",
        )
    batch = _batch(tensors)
    traced = trace(model, args, kwargs)
    return ModelCost(tuple(_rows(model, traced, batch)), _stored_bytes(model))


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, (tuple, list)):
        return tuple(inputs), {}
    raise InputSpecError(
        f"unsupported inputs: {type(inputs).__name__}",
        remedy="pass a tensor, a tuple of arguments or a dictionary of keyword arguments",
    )


def _batch(tensors: Sequence[Tensor]) -> int:
    sizes = {tensor.shape[0] if tensor.ndim > 1 else None for tensor in tensors}
    only = sizes.pop() if len(sizes) == 1 else None
    return only or 1


def _rows(model: nn.Module, traced: Trace, batch: int) -> list[LayerCost]:
    modules: dict[str, list[nn.Module]] = {}
    for path, module in model.named_modules():
        modules.setdefault(owner(path), []).append(module)
    counted: set[int] = set()
    rows = []
    paths = [path for path in traced.calls if path in modules or traced.calls[path].flops]
    paths += [path for path in modules if path not in traced.calls]
    # The model's own operators outside of its layers come last.
    for path in sorted(dict.fromkeys(paths), key=lambda path: path == ""):
        call = traced.calls.get(path)
        parts = modules.get(path, [])
        params = _params(parts, counted)
        # torch's formulas count a multiply-accumulate as two operations.
        macs = round(sum(call.flops.values()) / 2 / batch) if call is not None else 0
        if not params and not macs:
            continue
        layer = parts[0] if parts else None
        own = [own for part in parts for own in part.parameters(recurse=False)]
        shape = call.output_shape if call is not None else ()
        output_bits = call.output_bits if call is not None and call.output_bits else 32
        rows.append(
            LayerCost(
                path,
                kind_of(layer, call),
                (1, *shape[1:]) if shape and shape[0] == batch else shape,
                macs,
                _declared(layer, "weight_bits") or (_bits(own[0]) if own else output_bits),
                _declared(layer, "activation_bits") or output_bits,
                params,
            )
        )
    return rows


def _params(modules: Sequence[nn.Module], counted: set[int]) -> dict[int, int]:
    """Count parameters by bits, parametrizations included, except those in ``counted``."""
    found: Counter[int] = Counter()
    for module in modules:
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in counted:
                continue
            counted.add(id(parameter))
            # Declared bits apply to the weight; scales and biases keep their own precision.
            of_weight = name == "weight" or (module is not modules[0] and name == "original")
            declared = _declared(modules[0], "weight_bits") if of_weight else None
            found[declared or _bits(parameter)] += parameter.numel()
    return dict(sorted(found.items()))


def _bits(tensor: Tensor) -> int:
    return tensor.element_size() * 8


def _declared(module: nn.Module | None, name: str) -> int | None:
    bits = getattr(module, name, None)
    return bits if type(bits) is int and 1 <= bits <= 64 else None


def _stored_bytes(model: nn.Module) -> int:
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
