"""Elementwise operators: arithmetic, comparison, logic, rounding, casts."""

from __future__ import annotations

import torch
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import as_float, operator, operators_from

__all__: list[str] = []

# Operators that torch has under the same name.
_UNARY = (
    *("abs", "acos", "asin", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor"),
    *("logical_not", "round", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh"),
)
_BINARY = (
    *("add", "maximum", "minimum", "mul", "pow", "sub"),
    *("logical_and", "logical_or", "logical_xor"),
)

operators_from({name: getattr(torch, name) for name in _UNARY}, x=Tensor)
operators_from({"identity": lambda x: x}, x=Tensor)
operators_from({name: getattr(torch, name) for name in _BINARY}, x=Tensor, y=Tensor)
operators_from(
    {
        "equal": torch.eq,
        "floor_div": torch.floor_divide,
        "greater": torch.gt,
        "greater_equal": torch.ge,
        "less": torch.lt,
        "less_equal": torch.le,
        # The result takes the divisor's sign.
        "mod": torch.remainder,
        "not_equal": torch.ne,
        "real_div": torch.true_divide,
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
