"""A rewrite rule: one operator, the targets that cannot take it, and the form they can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Rule"]


def _always(*_: Any, **__: Any) -> bool:
    return True


def _none(*_: Any, **__: Any) -> tuple[Tensor, ...]:
    return ()


@dataclass(frozen=True)
class Rule:
    """Rewrite of one kind of operator.

    Attributes:
        operators: Overloads such as ``aten.pad.default``, by their text.
        targets: Targets that need the rewrite, ``NAME`` or ``NAME:VARIANT``.
        reason: One sentence for the user: why the target cannot take the operator as it is.
        replacement: Compute the same result from other operators. Called with the operator's own
            arguments and then the tensors of ``constants``, as the keyword ``constants``. An
            operator that has several results gets them as a list.
        applies: Decide from the operator's arguments; tensors are fake and have shapes only.
        constants: Make the tensors that the replacement reads, such as a matrix of weights. Its
            arguments are real tensors where the program knows them.
        first_only: True if the replacement gives the first of several results only: an operator
            whose other results are read stays.
        if_read: Index of the result that must be read for the rule to apply; None for any.
        parts: True to split the operators of the replacement further, as torch's compilers do.
    """

    operators: frozenset[str]
    targets: frozenset[str]
    reason: str
    replacement: Callable[..., Any]
    applies: Callable[..., bool] = _always
    constants: Callable[..., tuple[Tensor, ...]] = _none
    parts: bool = False
    first_only: bool = False
    if_read: int | None = None
