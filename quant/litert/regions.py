"""Operators of a LiteRT model that stay float around float layers."""

from __future__ import annotations

import math
from collections.abc import Collection

from edgesdk.quant.litert.file import LitertModel, LitertOperator

__all__ = ["float_region", "fragile_region", "norm_region", "scope"]

#: Roots of variances.
_ROOTS = frozenset({"RSQRT", "SQRT"})
#: Operators of normalizations by statistics of their input.
_ARITHMETIC = frozenset(
    {"ADD", "DIV", "MEAN", "MUL", "POW", "SQUARE", "SQUARED_DIFFERENCE", "SUB", "SUM"}
)
#: Operators whose results span too many orders of magnitude for 8 bits, such as squares.
_WIDE = frozenset({"EXP", "LOG", "POW", "RSQRT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE"})
#: Integer reductions, and the number of values that the interpreter's kernel sums without overflow
#: (16384 values overflow).
_SUMS = frozenset({"MEAN", "SUM"})
_LONGEST_SUM = 4096


def scope(model: LitertModel, operator: LitertOperator) -> str:
    """Return the vendor's name of an operator: the names of its results."""
    return ";".join(model.tensors[index].name for index in operator.outputs)


def float_region(model: LitertModel, weighted: Collection[int], kept: Collection[int]) -> set[int]:
    """Return the operators that stay float.

    An operator without weights stays float if everything around it does, so values between two
    float layers are not rounded.

    Args:
        model: Float model.
        weighted: Indices of the operators with weights.
        kept: Indices of those that stay float.

    Returns:
        Indices of operators, ``kept`` among them.
    """
    found = set(kept)
    neighbours = _neighbours(model)
    visited: set[int] = set()
    for operator in model.operators:
        if operator.index in weighted or operator.index in visited:
            continue
        region, border, waiting = {operator.index}, set(), [operator.index]
        while waiting:
            for other in neighbours[waiting.pop()]:
                if other in weighted:
                    border.add(other)
                elif other not in region:
                    region.add(other)
                    waiting.append(other)
        visited |= region
        if border and border <= found:
            found |= region
    return found


def fragile_region(model: LitertModel, weighted: Collection[int]) -> set[int]:
    """Return operators whose integer kernels are too inaccurate or wrong.

    Operators that only feed these stay float too, such as the mean under a square root.

    Args:
        model: Float model.
        weighted: Indices of the operators with weights, which are never included.
    """
    found = {
        operator.index
        for operator in model.operators
        if operator.name in _WIDE or (operator.name in _SUMS and _too_long(model, operator))
    }
    consumers = model.consumers()
    given = set(model.outputs.values())
    for operator in reversed(model.operators):
        if operator.index in weighted or given.intersection(operator.outputs):
            continue
        readers = [other for index in operator.outputs for other in consumers.get(index, [])]
        if readers and all(other.index in found for other in readers):
            found.add(operator.index)
    return found


def norm_region(model: LitertModel, weighted: Collection[int]) -> set[int]:
    """Return the arithmetic around roots, that is normalizations written out as operators.

    Args:
        model: Float model.
        weighted: Indices of the operators with weights, which bound the region.
    """
    neighbours = _neighbours(model)
    operators = {operator.index: operator for operator in model.operators}
    waiting = [index for index, operator in operators.items() if operator.name in _ROOTS]
    found = set(waiting)
    while waiting:
        for other in neighbours[waiting.pop()] - found - set(weighted):
            if operators[other].name in _ARITHMETIC | _ROOTS:
                found.add(other)
                waiting.append(other)
    return found


def _too_long(model: LitertModel, operator: LitertOperator) -> bool:
    taken, given = (model.tensors[index[0]] for index in (operator.inputs, operator.outputs))
    return math.prod(taken.shape) > _LONGEST_SUM * math.prod(given.shape)


def _neighbours(model: LitertModel) -> dict[int, set[int]]:
    producers = model.producers()
    found: dict[int, set[int]] = {operator.index: set() for operator in model.operators}
    for operator in model.operators:
        for tensor in operator.present:
            producer = producers.get(tensor)
            if producer is not None:
                found[operator.index].add(producer.index)
                found[producer.index].add(operator.index)
    return found
