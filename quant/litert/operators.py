"""LiteRT operators computed in floats by torch: arithmetic, shapes and selection.

Each takes the schema's table of its options and its inputs, and returns its result, or a list of
results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["OPERATORS", "activated", "cast"]

#: Fused activations by their number in the schema.
_FUSED: dict[int, Callable[[Tensor], Tensor]] = {
    0: lambda value: value,
    1: torch.relu,
    2: lambda value: value.clamp(-1.0, 1.0),
    3: lambda value: value.clamp(0.0, 6.0),
    4: torch.tanh,
}

#: Types by their number in the schema.
_TYPES = {
    0: torch.float32,
    1: torch.float16,
    2: torch.int32,
    3: torch.uint8,
    4: torch.int64,
    6: torch.bool,
    7: torch.int16,
    9: torch.int8,
    10: torch.float64,
}

_TYPES_BY_NAME = {
    "BOOL": torch.bool,
    "FLOAT16": torch.float16,
    "FLOAT32": torch.float32,
    "FLOAT64": torch.float64,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "INT8": torch.int8,
    "UINT8": torch.uint8,
}


def activated(options: Any, value: Tensor) -> Tensor:
    """Apply the fused activation of an operator to its result.

    Raises:
        ValueError: The activation is unknown.
    """
    number = int(getattr(options, "fusedActivationFunction", 0))
    if number not in _FUSED:
        raise ValueError(f"the fused activation {number} is unknown")
    return _FUSED[number](value)


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda _, value: function(value)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda options, left, right: activated(options, function(left, right))


def _integers(value: Tensor) -> list[int]:
    return [int(item) for item in value.reshape(-1).tolist()]


def _fully_connected(
    options: Any, value: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    if options.weightsFormat != 0:
        raise ValueError("its weights are shuffled")
    rows = value if options.keepNumDims else value.reshape(-1, weight.shape[1])
    return activated(options, functional.linear(rows, weight, bias))


def _batch_matmul(options: Any, left: Tensor, right: Tensor) -> Tensor:
    left = left.transpose(-1, -2) if options.adjX else left
    return torch.matmul(left, right.transpose(-1, -2) if options.adjY else right)


def _reduction(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(options: Any, value: Tensor, axes: Tensor) -> Tensor:
        kept = [axis % value.ndim for axis in _integers(axes)]
        return function(value, dim=kept, keepdim=bool(options.keepDims)) if kept else value

    return reduce


def _reshape(options: Any, value: Tensor, shape: Tensor | None = None) -> Tensor:
    return value.reshape(_integers(shape) if shape is not None else list(options.newShape))


def _squeeze(options: Any, value: Tensor) -> Tensor:
    axes = [int(axis) for axis in (options.squeezeDims if options.squeezeDims is not None else ())]
    return value.squeeze(tuple(axes)) if axes else value.squeeze()


def _pad(_: Any, value: Tensor, margins: Tensor, filling: Tensor | None = None) -> Tensor:
    pairs = [_integers(pair) for pair in margins]
    flat = [size for pair in reversed(pairs) for size in pair]
    return functional.pad(value, flat, value=float(filling) if filling is not None else 0.0)


def _mirror_pad(options: Any, value: Tensor, margins: Tensor) -> Tensor:
    # Reflected margins exclude the border, symmetric ones repeat it.
    inset = 1 if options.mode == 0 else 0
    for axis, pair in enumerate(margins):
        before, after = _integers(pair)
        size = value.shape[axis]
        places = [
            *range(before - 1 + inset, inset - 1, -1),
            *range(size),
            *range(size - 1 - inset, size - 1 - inset - after, -1),
        ]
        value = value.index_select(axis, torch.tensor(places))
    return value


def _concatenation(options: Any, *values: Tensor) -> Tensor:
    return activated(options, torch.cat(values, dim=int(options.axis)))


def _split(options: Any, axis: Tensor, value: Tensor) -> list[Tensor]:
    return list(value.chunk(int(options.numSplits), dim=int(axis)))


def _split_v(_: Any, value: Tensor, sizes: Tensor, axis: Tensor) -> list[Tensor]:
    return list(value.split(_integers(sizes), dim=int(axis)))


def _slice(_: Any, value: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    for axis, (start, count) in enumerate(zip(_integers(begin), _integers(size), strict=True)):
        value = value.narrow(axis, start, value.shape[axis] - start if count < 0 else count)
    return value


def _strided_slice(
    options: Any, value: Tensor, begin: Tensor, end: Tensor, strides: Tensor
) -> Tensor:
    if options.ellipsisMask or options.newAxisMask:
        raise ValueError("it adds axes or skips some")
    shrunk = []
    limits = zip(_integers(begin), _integers(end), _integers(strides), strict=True)
    for axis, (first, last, step) in enumerate(limits):
        start = None if options.beginMask >> axis & 1 else first
        stop = None if options.endMask >> axis & 1 else last
        if options.shrinkAxisMask >> axis & 1:
            start, stop, step = first, first + 1 or None, 1
            shrunk.append(axis)
        places = range(value.shape[axis])[slice(start, stop, step)]
        value = value.index_select(axis, torch.tensor(list(places), dtype=torch.long))
    return value.squeeze(tuple(shrunk)) if shrunk else value


def _unpack(options: Any, value: Tensor) -> list[Tensor]:
    return list(value.unbind(int(options.axis)))


def _gather(options: Any, value: Tensor, places: Tensor) -> Tensor:
    if options.batchDims:
        raise ValueError("it gathers by sample")
    axis = int(options.axis) % value.ndim
    chosen = value.index_select(axis, places.reshape(-1).long())
    return chosen.reshape(*value.shape[:axis], *places.shape, *value.shape[axis + 1 :])


def _gather_nd(_: Any, value: Tensor, places: Tensor) -> Tensor:
    return value[tuple(places.long().unbind(-1))]


def _embedding_lookup(_: Any, places: Tensor, table: Tensor) -> Tensor:
    return table[places.long()]


def _select(_: Any, condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    if condition.ndim == 1 and yes.ndim > 1 and condition.shape[0] == yes.shape[0]:
        condition = condition.reshape(-1, *(1,) * (yes.ndim - 1))
    return torch.where(condition, yes, no)


def cast(dtype: str, value: Tensor) -> Tensor:
    """Convert a value to the type of a tensor.

    Converters leave the options of ``CAST`` out, as kernels read the type of the result.

    Args:
        dtype: Type in the schema, such as ``FLOAT32``.
        value: Value to convert.

    Raises:
        ValueError: The type is unknown.
    """
    if dtype not in _TYPES_BY_NAME:
        raise ValueError(f"the type {dtype} is unknown")
    return value.to(_TYPES_BY_NAME[dtype])


def _arg_max(_: Any, value: Tensor, axis: Tensor) -> Tensor:
    return value.argmax(dim=int(axis))


def _shape(options: Any, value: Tensor) -> Tensor:
    return torch.tensor(value.shape, dtype=_TYPES[int(options.outType)])


def _prelu(_: Any, value: Tensor, slope: Tensor) -> Tensor:
    return torch.where(value >= 0, value, value * slope)


#: Functions from options and inputs to results, by operator name in the schema.
OPERATORS: dict[str, Callable[..., Tensor | list[Tensor]]] = {
    "ABS": _unary(torch.abs),
    "ADD": _binary(torch.add),
    "ARG_MAX": _arg_max,
    "BATCH_MATMUL": _batch_matmul,
    "BROADCAST_TO": lambda _, value, shape: value.broadcast_to(_integers(shape)),
    "CONCATENATION": _concatenation,
    "COS": _unary(torch.cos),
    "DEQUANTIZE": _unary(torch.Tensor.float),
    "DIV": _binary(torch.div),
    "ELU": _unary(functional.elu),
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "EQUAL": lambda _, left, right: left == right,
    "EXP": _unary(torch.exp),
    "EXPAND_DIMS": lambda _, value, axis: value.unsqueeze(int(axis)),
    "FLOOR": _unary(torch.floor),
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "GELU": lambda options, value: functional.gelu(
        value, approximate="tanh" if options.approximate else "none"
    ),
    "GREATER": lambda _, left, right: left > right,
    "GREATER_EQUAL": lambda _, left, right: left >= right,
    "HARD_SWISH": _unary(functional.hardswish),
    "LEAKY_RELU": lambda options, value: functional.leaky_relu(value, float(options.alpha)),
    "LESS": lambda _, left, right: left < right,
    "LESS_EQUAL": lambda _, left, right: left <= right,
    "LOG": _unary(torch.log),
    "LOGICAL_AND": lambda _, left, right: torch.logical_and(left, right),
    "LOGICAL_NOT": _unary(torch.logical_not),
    "LOGICAL_OR": lambda _, left, right: torch.logical_or(left, right),
    "LOGISTIC": _unary(torch.sigmoid),
    "LOG_SOFTMAX": _unary(lambda value: torch.log_softmax(value, dim=-1)),
    "MAXIMUM": _binary(torch.maximum),
    "MEAN": _reduction(torch.mean),
    "MINIMUM": _binary(torch.minimum),
    "MIRROR_PAD": _mirror_pad,
    "MUL": _binary(torch.mul),
    "NEG": _unary(torch.neg),
    "NOT_EQUAL": lambda _, left, right: left != right,
    "PACK": lambda options, *values: torch.stack(values, dim=int(options.axis)),
    "PAD": _pad,
    "PADV2": _pad,
    "POW": _binary(torch.pow),
    "PRELU": _prelu,
    "QUANTIZE": _unary(torch.clone),
    "REDUCE_MAX": _reduction(torch.amax),
    "REDUCE_MIN": _reduction(torch.amin),
    "RELU": _unary(torch.relu),
    "RELU6": _unary(_FUSED[3]),
    "RELU_0_TO_1": _unary(lambda value: value.clamp(0.0, 1.0)),
    "RELU_N1_TO_1": _unary(_FUSED[2]),
    "RESHAPE": _reshape,
    "ROUND": _unary(torch.round),
    "RSQRT": _unary(torch.rsqrt),
    "SELECT": _select,
    "SELECT_V2": _select,
    "SHAPE": _shape,
    "SIGN": _unary(torch.sign),
    "SIN": _unary(torch.sin),
    "SLICE": _slice,
    "SOFTMAX": lambda options, value: torch.softmax(value * float(options.beta), dim=-1),
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQRT": _unary(torch.sqrt),
    "SQUARE": _unary(torch.square),
    "SQUARED_DIFFERENCE": _binary(lambda left, right: (left - right).square()),
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _binary(torch.sub),
    "SUM": _reduction(torch.sum),
    "TANH": _unary(torch.tanh),
    "TILE": lambda _, value, counts: value.repeat(_integers(counts)),
    "TRANSPOSE": lambda _, value, order: value.permute(_integers(order)).contiguous(),
    "UNPACK": _unpack,
}
