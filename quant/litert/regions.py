"""Which operators stay float with the layers that a user keeps float."""

from __future__ import annotations

import math
from collections.abc import Collection

from edgesdk.quant.litert.file import LitertModel, LitertOperator

__all__ = ["float_region", "fragile_region", "norm_region", "scope"]

#: What makes deviations of variances.
_ROOTS = frozenset({"RSQRT", "SQRT"})
#: What a normalisation by moments is written with.
_ARITHMETIC = frozenset(
    {"ADD", "DIV", "MEAN", "MUL", "POW", "SQUARE", "SQUARED_DIFFERENCE", "SUB", "SUM"}
)
#: Operators whose results span so many orders of magnitude that 8 bits lose most of them: squares,
#: and what is taken of variances.
_WIDE = frozenset({"EXP", "LOG", "POW", "RSQRT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE"})
#: Reductions in integers, and how many values the interpreter's kernel can sum up without overflow:
#: with 16384 it answers the wrong end of the range.
_SUMS = frozenset({"MEAN", "SUM"})
_LONGEST_SUM = 4096


def scope(model: LitertModel, operator: LitertOperator) -> str:
    """What the vendor's quantizer calls an operator: the names of its results."""
    return ";".join(model.tensors[index].name for index in operator.outputs)


def float_region(model: LitertModel, weighted: Collection[int], kept: Collection[int]) -> set[int]:
    """The operators that stay float.

    An operator without weights stays float where everything around it does: values are not rounded
    between two float layers.

    Args:
        model: The float model.
        weighted: Indices of the operators with weights.
        kept: Those of them that stay float.

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
    """Operators that kernels for integers exist for, and that are useless or wrong with them.

    What is computed for these alone stays float too, such as the mean under a square root.

    Args:
        model: The float model.
        weighted: Indices of the operators with weights, which never are.
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
    """The arithmetic around roots: normalisations written out, from what they centre to what they
    are added to.

    Args:
        model: The float model.
        weighted: Indices of the operators with weights, at which it ends.
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
