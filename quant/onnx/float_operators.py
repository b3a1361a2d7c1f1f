"""ONNX float operators in torch, as used by vision and language networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.errors import QuantizationError
from edgesdk.quant.onnx.graph import attribute
from edgesdk.quant.onnx.image_operators import IMAGE_OPERATORS, in_single, numbers
from edgesdk.quant.onnx.integer_operators import Operator, given

__all__ = ["FLOAT_OPERATORS"]

_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
}
Inputs = list[Tensor | None]


def _one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda node, inputs: [function(given(inputs, 0))]


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda node, inputs: [function(given(inputs, 0), given(inputs, 1))]


def _gemm(node: Any, inputs: Inputs) -> list[Tensor]:
    left, right = given(inputs, 0), given(inputs, 1)
    left = left.T if attribute(node, "transA", 0) else left
    right = right.T if attribute(node, "transB", 0) else right
    result = in_single(torch.matmul, left, right) * float(attribute(node, "alpha", 1.0))
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None:
        result = result + float(attribute(node, "beta", 1.0)) * bias
    return [result]


def _clip(node: Any, inputs: Inputs) -> list[Tensor]:
    low, high = (inputs[place] if place < len(inputs) else None for place in (1, 2))
    result = given(inputs, 0)
    if low is not None:
        result = torch.maximum(result, low.to(result.dtype))
    if high is not None:
        result = torch.minimum(result, high.to(result.dtype))
    return [result]


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def operator(node: Any, inputs: Inputs) -> list[Tensor]:
        x = given(inputs, 0)
        axes = numbers(inputs, 1) or attribute(node, "axes")
        if not axes:
            if attribute(node, "noop_with_empty_axes", 0):
                return [x]
            axes = list(range(x.dim()))
        return [function(x, dim=tuple(axes), keepdim=bool(attribute(node, "keepdims", 1)))]

    return operator


def _reshape(node: Any, inputs: Inputs) -> list[Tensor]:
    x, shape = given(inputs, 0), numbers(inputs, 1) or []
    if not attribute(node, "allowzero", 0):
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return [x.reshape(shape)]


def _slice(node: Any, inputs: Inputs) -> list[Tensor]:
    x = given(inputs, 0)
    starts, ends = numbers(inputs, 1) or [], numbers(inputs, 2) or []
    axes = numbers(inputs, 3) or list(range(len(starts)))
    steps = numbers(inputs, 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(x.shape[axis])[slice(start, end, step)]
        x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64))
    return [x]


def _softmax(function: Callable[..., Tensor]) -> Operator:
    return lambda node, inputs: [
        in_single(lambda x: function(x, dim=int(attribute(node, "axis", -1))), given(inputs, 0))
    ]


def _batch_norm(node: Any, inputs: Inputs) -> list[Tensor]:
    x, scale, bias, mean, variance = (given(inputs, place) for place in range(5))
    epsilon = float(attribute(node, "epsilon", 1e-5))
    return [
        in_single(
            lambda *args: functional.batch_norm(
                args[0], args[3], args[4], args[1], args[2], False, 0.0, epsilon
            ),
            x,
            scale,
            bias,
            mean,
            variance,
        )
    ]


def _instance_norm(node: Any, inputs: Inputs) -> list[Tensor]:
    x, scale, bias = (given(inputs, place) for place in range(3))
    epsilon = float(attribute(node, "epsilon", 1e-5))
    return [
        in_single(
            lambda v, s, b: functional.instance_norm(v, None, None, s, b, eps=epsilon),
            x,
            scale,
            bias,
        )
    ]


def _layer_norm(node: Any, inputs: Inputs) -> list[Tensor]:
    x, scale = given(inputs, 0), given(inputs, 1)
    bias = inputs[2] if len(inputs) > 2 else None
    axis = int(attribute(node, "axis", -1)) % x.dim()
    epsilon = float(attribute(node, "epsilon", 1e-5))

    def norm(v: Tensor, s: Tensor, b: Tensor | None) -> Tensor:
        shape = v.shape[axis:]
        shift = None if b is None else b.expand(shape)
        return functional.layer_norm(v, shape, s.expand(shape), shift, epsilon)

    return [in_single(norm, x, scale, bias)]


def _transpose(node: Any, inputs: Inputs) -> list[Tensor]:
    x = given(inputs, 0)
    return [x.permute(attribute(node, "perm", list(range(x.dim()))[::-1]))]


def _split(node: Any, inputs: Inputs) -> list[Tensor]:
    x, axis = given(inputs, 0), int(attribute(node, "axis", 0))
    sizes = numbers(inputs, 1)
    if sizes is None:
        count = int(attribute(node, "num_outputs", len(node.output)))
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return list(torch.split(x, sizes, dim=axis))


def _squeeze(node: Any, inputs: Inputs) -> list[Tensor]:
    x, axes = given(inputs, 0), numbers(inputs, 1)
    return [x.squeeze() if axes is None else x.squeeze(tuple(axes))]


def _unsqueeze(node: Any, inputs: Inputs) -> list[Tensor]:
    x, axes = given(inputs, 0), numbers(inputs, 1) or []
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return [x]


def _flatten(node: Any, inputs: Inputs) -> list[Tensor]:
    x, axis = given(inputs, 0), int(attribute(node, "axis", 1))
    return [x.reshape(math.prod(x.shape[: axis % (x.dim() + 1)]), -1)]


def _cast(node: Any, inputs: Inputs) -> list[Tensor]:
    kind = _DTYPES.get(int(attribute(node, "to")))
    if kind is None:
        raise QuantizationError("the simulation does not support Cast to this type")
    return [given(inputs, 0).to(kind)]


def _gather(node: Any, inputs: Inputs) -> list[Tensor]:
    x, places = given(inputs, 0), given(inputs, 1).long()
    axis = int(attribute(node, "axis", 0)) % x.dim()
    places = torch.where(places < 0, places + x.shape[axis], places)
    taken = x.index_select(axis, places.reshape(-1))
    return [taken.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])]


def _expand(node: Any, inputs: Inputs) -> list[Tensor]:
    x, shape = given(inputs, 0), numbers(inputs, 1) or []
    return [x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))]


def _shape(node: Any, inputs: Inputs) -> list[Tensor]:
    sizes = list(given(inputs, 0).shape)[int(attribute(node, "start", 0)) : attribute(node, "end")]
    return [torch.tensor(sizes, dtype=torch.int64)]


def _gelu(node: Any, inputs: Inputs) -> list[Tensor]:
    mode = str(attribute(node, "approximate", "none"))
    return [in_single(lambda x: functional.gelu(x, approximate=mode), given(inputs, 0))]


def _hard_sigmoid(node: Any, inputs: Inputs) -> list[Tensor]:
    alpha, beta = float(attribute(node, "alpha", 0.2)), float(attribute(node, "beta", 0.5))
    return [(given(inputs, 0) * alpha + beta).clamp(0, 1)]


def _leaky(node: Any, inputs: Inputs) -> list[Tensor]:
    return [functional.leaky_relu(given(inputs, 0), float(attribute(node, "alpha", 0.01)))]


def _elu(node: Any, inputs: Inputs) -> list[Tensor]:
    return [functional.elu(given(inputs, 0), float(attribute(node, "alpha", 1.0)))]


def _prelu(node: Any, inputs: Inputs) -> list[Tensor]:
    x, slope = given(inputs, 0), given(inputs, 1)
    return [torch.where(x < 0, x * slope, x)]


def _concat(node: Any, inputs: Sequence[Tensor | None]) -> list[Tensor]:
    parts = [part for part in inputs if part is not None]
    return [torch.cat(parts, dim=int(attribute(node, "axis")))]


def _where(node: Any, inputs: Inputs) -> list[Tensor]:
    return [torch.where(given(inputs, 0), given(inputs, 1), given(inputs, 2))]


def _divide(left: Tensor, right: Tensor) -> Tensor:
    if left.is_floating_point():
        return left / right
    return torch.div(left, right, rounding_mode="trunc")


#: Operators by name.
FLOAT_OPERATORS: dict[str, Operator] = {
    **IMAGE_OPERATORS,
    "Abs": _one(torch.abs),
    "Add": _two(torch.add),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _two(_divide),
    "Elu": _elu,
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _one(functional.hardswish),
    "Identity": _one(lambda x: x),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _leaky,
    "Log": _one(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _two(lambda left, right: in_single(torch.matmul, left, right)),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "PRelu": _prelu,
    "Pow": _two(lambda left, right: torch.pow(left, right.to(left.dtype))),
    "Reciprocal": _one(torch.reciprocal),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _one(torch.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _one(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _one(functional.softplus),
    "Split": _split,
    "Sqrt": _one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _two(torch.sub),
    "Tanh": _one(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
