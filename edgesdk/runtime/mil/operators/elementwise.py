"""Elementwise operators: arithmetic, comparison, logic, rounding, casts."""

from __future__ import annotations

import torch
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import as_float, operator, operators_from

__all__: list[str] = []

operators_from(
    {
        "abs": torch.abs,
        "acos": torch.acos,
        "asin": torch.asin,
        "atan": torch.atan,
        "atanh": torch.atanh,
        "ceil": torch.ceil,
        "cos": torch.cos,
        "cosh": torch.cosh,
        "erf": torch.erf,
        "exp": torch.exp,
        "exp2": torch.exp2,
        "floor": torch.floor,
        "identity": lambda x: x,
        "logical_not": torch.logical_not,
        "round": torch.round,
        "sign": torch.sign,
        "sin": torch.sin,
        "sinh": torch.sinh,
        "sqrt": torch.sqrt,
        "square": torch.square,
        "tan": torch.tan,
        "tanh": torch.tanh,
    },
    x=Tensor,
)

operators_from(
    {
        "add": torch.add,
        "equal": torch.eq,
        "floor_div": torch.floor_divide,
        "greater": torch.gt,
        "greater_equal": torch.ge,
        "less": torch.lt,
        "less_equal": torch.le,
        "logical_and": torch.logical_and,
        "logical_or": torch.logical_or,
        "logical_xor": torch.logical_xor,
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        # The result takes the divisor's sign.
        "mod": torch.remainder,
        "mul": torch.mul,
        "not_equal": torch.ne,
        "pow": torch.pow,
        "real_div": torch.true_divide,
        "sub": torch.sub,
    },
    x=Tensor,
    y=Tensor,
)

operators_from(
    {
        "inverse": lambda x, epsilon: torch.reciprocal(x + epsilon),
        "log": lambda x, epsilon: torch.log(x + epsilon),
        "rsqrt": lambda x, epsilon: torch.rsqrt(x + epsilon),
    },
    x=Tensor,
    epsilon=Tensor,
)
operators_from({"clip": torch.clamp}, x=Tensor, alpha=float, beta=float)
operators_from({"select": torch.where}, cond=Tensor, a=Tensor, b=Tensor)

_INTEGER_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32}


@operator("threshold")
def _threshold(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.maximum(x, alpha.to(x.dtype))


@operator("cast")
def _cast(x: Tensor, dtype: str) -> Tensor:
    if dtype == "bool":
        return x != 0
    if dtype in _INTEGER_BITS:
        return wrap_integer(x, dtype)
    return as_float(x)


def wrap_integer(x: Tensor, dtype: str) -> Tensor:
    """Truncate ``x`` towards zero and wrap it to the range of the integer type ``dtype``."""
    bits = _INTEGER_BITS[dtype]
    whole = x.trunc() if x.is_floating_point() else x
    wrapped = torch.remainder(whole.to(torch.int64), 1 << bits)
    if not dtype.startswith("u"):
        wrapped = torch.where(wrapped >= 1 << (bits - 1), wrapped - (1 << bits), wrapped)
    return wrapped
