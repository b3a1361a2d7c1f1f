"""Operators between dequantize and quantize nodes, simulated on the integers themselves.

In floats, a sum can lie so close to the middle of two integers that it rounds differently from the
exact sum; after some fifty layers two such computations differ by a step everywhere. Integer
kernels sum exactly and round once, as ``QLinearConv`` defines, and so does this module: remaining
differences to a runtime are errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgesdk.errors import QuantizationError
from edgesdk.quant.onnx.graph import OnnxGraph, attribute
from edgesdk.quant.onnx.integer_operators import centred, convolve_exactly

__all__ = ["FusedOperator", "fused_operators"]

_BYTES = (torch.int8, torch.uint8)
Values = Mapping[str, Tensor | None]


@dataclass(frozen=True)
class FusedOperator:
    """One operator with the nodes that dequantize its inputs and quantize its output.

    Attributes:
        node: The operator.
        inputs: Dequantize node of each input.
        output: Quantize node of its result.
    """

    node: Any
    inputs: tuple[Any, ...]
    output: Any

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the values it needs."""
        names = [name for node in self.inputs for name in node.input]
        return tuple(dict.fromkeys([*names, *self.output.input[1:]]))

    def compute(self, values: Values) -> Tensor | None:
        """Return the quantized result; None if the integers do not have 8 bits."""
        parts = [_part(node, values) for node in self.inputs]
        scale, zero_point = (_value(values, name) for name in self.output.input[1:3])
        if zero_point.dtype not in _BYTES:
            return None
        if any(part.integers.dtype not in _BYTES for part in parts[:2]):
            return None
        steps = _OPERATORS[self.node.op_type](self.node, parts, scale.float(), zero_point)
        limits = torch.iinfo(zero_point.dtype)
        return steps.clamp(limits.min, limits.max).to(zero_point.dtype)


@dataclass(frozen=True)
class _Part:
    integers: Tensor
    scale: Tensor
    zero_point: Tensor | None


def fused_operators(graph: OnnxGraph) -> dict[str, FusedOperator]:
    """Find operators with an integer kernel; return them by node name."""
    producers, consumers = graph.producers(), graph.consumers()
    results = {value.name for value in graph.graph.output}
    found = {}
    for node in graph.graph.node:
        if node.op_type not in _OPERATORS or node.output[0] in results:
            continue
        before = [producers.get(name) for name in node.input]
        after = consumers.get(node.output[0], [])
        if len(after) != 1 or after[0].op_type != "QuantizeLinear" or len(after[0].input) < 3:
            continue
        if any(item is None or item.op_type != "DequantizeLinear" for item in before):
            continue
        plain = float(attribute(node, "alpha", 1.0)) == float(attribute(node, "beta", 1.0)) == 1.0
        if plain and not attribute(node, "transA", 0):
            found[node.name] = FusedOperator(node, tuple(before), after[0])
    return found


def _part(node: Any, values: Values) -> _Part:
    zero_point = values[node.input[2]] if len(node.input) > 2 else None
    return _Part(_value(values, node.input[0]), _value(values, node.input[1]).float(), zero_point)


def _value(values: Values, name: str) -> Tensor:
    tensor = values[name]
    if tensor is None:
        raise QuantizationError("a quantize operator lacks an input")
    return tensor


def _rounded(total: Tensor, factor: Tensor, zero_point: Tensor) -> Tensor:
    """Rescale exact sums to the output: one float32 product, rounded half to even."""
    return torch.round(total.float() * factor) + zero_point.float()


def _conv(node: Any, parts: list[_Part], scale: Tensor, zero_point: Tensor) -> Tensor:
    x, weight = parts[0], parts[1]
    total = convolve_exactly(
        node,
        centred(x.integers, x.zero_point, 0),
        centred(weight.integers, weight.zero_point, 0),
    )
    shape = [1, -1, *[1] * (total.dim() - 2)]
    if len(parts) > 2:
        total = total + parts[2].integers.double().reshape(shape)
    factor = x.scale * weight.scale / scale
    return _rounded(total, factor.reshape(shape if factor.dim() else []), zero_point)


def _product(node: Any, parts: list[_Part], scale: Tensor, zero_point: Tensor) -> Tensor:
    left, right = parts[0], parts[1]
    turned = bool(attribute(node, "transB", 0))
    numbers = centred(right.integers, right.zero_point, 0 if turned else -1)
    total = centred(left.integers, left.zero_point, -2) @ (numbers.T if turned else numbers)
    if len(parts) > 2:
        total = total + parts[2].integers.double()
    return _rounded(total, left.scale * right.scale / scale, zero_point)


def _sum(node: Any, parts: list[_Part], scale: Tensor, zero_point: Tensor) -> Tensor:
    ratios = [part.scale / scale for part in parts]
    points = [_point(part) for part in parts]
    fixed = zero_point.float() - (ratios[0] * points[0] + ratios[1] * points[1])
    # Fused: a product is not rounded before it is added.
    first = ratios[0].double() * parts[0].integers.double() + fixed.double()
    second = ratios[1].double() * parts[1].integers.double() + first.float().double()
    return torch.round(second.float())


def _elementwise(node: Any, parts: list[_Part], scale: Tensor, zero_point: Tensor) -> Tensor:
    left, right = (part.integers.double() - _point(part).double() for part in parts)
    return _rounded(left * right, parts[0].scale * parts[1].scale / scale, zero_point)


def _point(part: _Part) -> Tensor:
    return torch.zeros(()) if part.zero_point is None else part.zero_point.float()


_OPERATORS: dict[str, Callable[[Any, list[_Part], Tensor, Tensor], Tensor]] = {
    "Add": _sum,
    "Conv": _conv,
    "Gemm": _product,
    "MatMul": _product,
    "Mul": _elementwise,
}
