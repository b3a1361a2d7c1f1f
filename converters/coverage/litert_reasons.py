"""Reasons of LiteRT's delegates for leaving an operator, deduced from the model.

The delegates do not report reasons. XNNPACK's rules are those that its delegate documents and
checks before it takes a node; the GPU's are those of TensorFlow Lite's compatibility check.
"""

from __future__ import annotations

from collections.abc import Collection

from edgesdk.converters.coverage.litert_graph import LitertGraph, Operator
from edgesdk.converters.coverage.undelegated import Reason

__all__ = ["why_not_gpu", "why_not_xnnpack"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_XNNPACK = _names(
    """
    ABS ADD ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL CEIL CONCATENATION CONV_2D COS
    DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV ELU EXP EXPAND_DIMS FLOOR FULLY_CONNECTED GELU
    HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL NEG PAD PRELU QUANTIZE
    READ_VARIABLE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR ROUND RSQRT
    SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM
    TANH TRANSPOSE TRANSPOSE_CONV VAR_HANDLE
    """
)
_GPU = _names(
    """
    ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D COS CUMSUM DENSIFY
    DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV ELU EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD
    FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG
    LOGICAL_AND LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT
    PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1
    RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX
    SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE
    TRANSPOSE TRANSPOSE_CONV
    """
)
_VALUES = frozenset({"FLOAT32", "FLOAT16", "INT8", "UINT8"})
# Inputs that are parameters, not data: shapes, axes, orders, begins and ends.
_PARAMETERS = {
    "EXPAND_DIMS": (1,),
    "MEAN": (1,),
    "PAD": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "SLICE": (1, 2),
    "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
}
_WEIGHTS = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "PRELU": 1,
    "TRANSPOSE_CONV": 1,
}
_BIASED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_MOST_JOINED = 5
_MOST_AXES = 6
_TANH, _SIGN_BIT = 4, 5
_REFLECT = 0


def why_not_xnnpack(
    graph: LitertGraph, operator: Operator, taken: Collection[str]
) -> tuple[Reason, str]:
    """Find the first rule of XNNPACK that an undelegated operator breaks.

    Args:
        graph: The model.
        operator: The undelegated operator.
        taken: Types of operators that XNNPACK took elsewhere in the model.
    """
    if operator.name not in _XNNPACK and operator.name not in taken:
        return "not supported", f"XNNPACK does not support {operator.name}"
    tensors = [graph.tensors[index] for index in operator.inputs]
    parameters = _PARAMETERS.get(operator.name, ())
    values = [
        tensor
        for place, tensor in enumerate(tensors)
        if place not in parameters and not (place == 2 and operator.name in _BIASED)
    ]
    values += [graph.tensors[index] for index in operator.outputs]
    odd = sorted({tensor.dtype for tensor in values} - _VALUES - {"INT4"})
    if odd:
        return "dtype", (
            f"{', '.join(odd).lower()}: XNNPACK supports float32 and quantized 8-bit values here"
        )
    if any(not tensors[place].constant for place in parameters if place < len(tensors)):
        return "dynamic shape", "its shape, axes or sizes are computed at run time"
    weights = _WEIGHTS.get(operator.name)
    if weights is not None and weights < len(tensors) and not tensors[weights].constant:
        return "constraint", "its weights are computed at run time; XNNPACK supports constant ones"
    broken = _broken_limit(graph, operator)
    if broken:
        return "constraint", broken
    if any(-1 in tensor.shape for tensor in values):
        return "dynamic shape", "a size is free"
    return "unknown", "none of the documented rules applies"


def _broken_limit(graph: LitertGraph, operator: Operator) -> str:
    tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs)]
    axes = max((len(tensor.shape) for tensor in tensors), default=0)
    if axes > _MOST_AXES:
        return f"{axes} axes; XNNPACK supports {_MOST_AXES}"
    options = operator.options
    if getattr(options, "fusedActivationFunction", 0) in (_TANH, _SIGN_BIT):
        return "its fused activation is not supported"
    name = operator.name
    if name == "CONCATENATION" and len(operator.inputs) > _MOST_JOINED:
        return f"it joins {len(operator.inputs)} tensors; XNNPACK supports {_MOST_JOINED}"
    if name == "STRIDED_SLICE":
        steps = tensors[3].integers
        if any(step != 1 for step in steps):
            return f"steps {list(steps)}; only 1 is supported"
        if options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask:
            return "slices that add or drop an axis are not supported"
    if name == "SOFTMAX" and options.beta != 1.0:
        return f"beta is {options.beta}; only 1 is supported"
    if name == "PAD" and any(amount < 0 for amount in tensors[1].integers):
        return "negative padding is not supported"
    if name in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        window = options.filterHeight * options.filterWidth
        if window == 1 and options.strideH * options.strideW > 1:
            return "a 1x1 window with a stride is not supported"
    return ""


def why_not_gpu(graph: LitertGraph, operator: Operator) -> tuple[Reason, str] | None:
    """Find the first rule of the GPU delegate that an operator breaks; None if it breaks none.

    Args:
        graph: The model.
        operator: Any of its operators.
    """
    if operator.name not in _GPU:
        return "not supported", f"the GPU delegate does not support {operator.name}"
    tensors = [graph.tensors[index] for index in operator.inputs]
    if any(tensor.dtype in ("FLOAT64", "INT64") for tensor in tensors):
        return "dtype", "64-bit values are not supported"
    if operator.name == "CAST" and graph.tensors[operator.outputs[0]].dtype not in (
        "BOOL",
        "FLOAT16",
        "FLOAT32",
        "INT32",
    ):
        return "dtype", "only casts between float, int32 and bool are supported"
    if operator.name == "GATHER":
        if tensors[0].dtype == "INT32":
            return "dtype", "gathering int32 values is not supported"
        if len(tensors[1].shape) != 1:
            return "constraint", "its indices must have one axis"
    if operator.name in ("SLICE", "STRIDED_SLICE") and len(tensors[0].shape) not in (3, 4):
        return "constraint", f"a tensor of {len(tensors[0].shape)} axes; 3 or 4 are supported"
    if operator.name == "MIRROR_PAD" and operator.options.mode != _REFLECT:
        return "constraint", "only reflection is supported"
    if any(-1 in tensor.shape for tensor in tensors):
        return "dynamic shape", "a size is free"
    return None
