"""Registry of operator rules: one small torch function per MIL operator.

A rule takes the operator's inputs by their MIL names. Its annotations determine the arguments: a
``Tensor`` stays a tensor; ``int``, ``float``, ``bool``, ``str`` and tuples of them are read from
the tensor first, so that rules use plain Python for strides and axes.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

__all__ = [
    "OperatorRule",
    "as_float",
    "known_operators",
    "operator",
    "operators_from",
    "rule_of",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class OperatorRule:
    """Rule of one operator type.

    Attributes:
        function: Takes the inputs by keyword, returns a tensor or a tuple of tensors.
        readers: Functions that read each input before the call, by name.
    """

    function: Callable[..., Any]
    readers: Mapping[str, _Reader]


_RULES: dict[str, OperatorRule] = {}


def _numbers(value: Any, kind: type) -> tuple[Any, ...]:
    if isinstance(value, Tensor):
        return tuple(kind(number) for number in value.reshape(-1).tolist())
    return tuple(_number(item, kind) for item in value)


def _number(value: Any, kind: type) -> Any:
    return kind(value.item()) if isinstance(value, Tensor) else kind(value)


def _reader(hint: Any) -> _Reader:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(choice for choice in get_args(hint) if choice is not type(None))
    if hint in (int, float, bool):
        return lambda value: _number(value, hint)
    if get_origin(hint) is tuple:
        element = get_args(hint)[0]
        if element in (int, float, bool):
            return lambda value: _numbers(value, element)
        return tuple
    return lambda value: value


def operator(*op_types: str) -> Callable[[_Function], _Function]:
    """Register the decorated function as the rule of ``op_types``.

    Raises:
        ValueError: An operator type already has a rule.
    """

    def register(function: _Function) -> _Function:
        hints = get_type_hints(function)
        hints.pop("return", None)
        rule = OperatorRule(function, {name: _reader(hint) for name, hint in hints.items()})
        for op_type in op_types:
            _register(op_type, rule)
        return function

    return register


def _register(op_type: str, rule: OperatorRule) -> None:
    if op_type in _RULES:
        raise ValueError(f"operator {op_type!r} already has a rule")
    _RULES[op_type] = rule


def operators_from(table: Mapping[str, Callable[..., Tensor]], **inputs: Any) -> None:
    """Register functions that take all inputs by position, such as ``torch.add``.

    Args:
        table: Function by operator type.
        **inputs: Annotation of each input of the operators, in the functions' order.
    """
    readers = {name: _reader(hint) for name, hint in inputs.items()}
    for op_type, function in table.items():

        def rule(function: Callable[..., Tensor] = function, **values: Any) -> Tensor:
            return function(*(values[name] for name in inputs))

        _register(op_type, OperatorRule(rule, readers))


def rule_of(op_type: str) -> OperatorRule | None:
    """Return the rule of ``op_type``, or None."""
    return _RULES.get(op_type)


def known_operators() -> tuple[str, ...]:
    """Return all operator types with a rule, sorted."""
    return tuple(sorted(_RULES))


def as_float(value: Tensor) -> Tensor:
    """Convert to ``float32``, for integer operators defined through real arithmetic."""
    return value if value.is_floating_point() else value.to(torch.float32)
