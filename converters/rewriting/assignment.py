"""Assignments to a mask or to indices (``x[mask] = 0``, ``x[:, [0, 2]] = y``) as selections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]

_Indices = Sequence[Tensor | None]

# Most places times assigned elements that indices known at run time are compared with.
_MOST_COMPARED = 1 << 20


def _given(indices: _Indices) -> dict[int, Tensor]:
    """The index tensors by the axis that they index."""
    return {axis: index for axis, index in enumerate(indices) if index is not None}


def _masked(x: Tensor, indices: _Indices, values: Tensor, accumulate: bool = False) -> Tensor:
    ((axis, mask),) = _given(indices).items()
    after = x.dim() - axis - mask.dim()
    return torch.where(mask.reshape(*mask.shape, *[1] * after), values, x)


def _is_masked(x: Tensor, indices: _Indices, values: Tensor, accumulate: bool = False) -> bool:
    given = _given(indices)
    if accumulate or len(given) != 1:
        return False
    ((axis, mask),) = given.items()
    after = x.dim() - axis - mask.dim()
    # A row of values for each hit is another assignment than one value for all.
    return mask.dtype == torch.bool and values.dim() <= after


class _Places:
    """The axes that are indexed, as one axis of places.

    Args:
        x: The tensor that is assigned to.
        indices: Index of each axis; None for a whole axis.
    """

    def __init__(self, x: Tensor, indices: _Indices) -> None:
        given = _given(indices)
        self.axes = list(given)
        self.first = self.axes[0]
        self.sizes = [int(x.shape[axis]) for axis in self.axes]
        self.shape = torch.broadcast_shapes(*(index.shape for index in given.values()))
        self.count, self.assigned = math.prod(self.sizes), math.prod(self.shape)
        self.joined = self.axes == list(range(self.first, self.first + len(self.axes)))

    def flat(self, indices: _Indices) -> Tensor:
        """Return the place of each assigned element."""
        place: Tensor | None = None
        for size, index in zip(self.sizes, _given(indices).values(), strict=True):
            positive = torch.where(index < 0, index + size, index)
            place = positive if place is None else place * size + positive
        assert place is not None
        return place.expand(self.shape).reshape(-1)

    def of(self, x: Tensor) -> Tensor:
        """Return the tensor with one axis of places."""
        after = x.shape[self.axes[-1] + 1 :]
        return x.reshape(*x.shape[: self.first], self.count, *after)

    def elements(self, x: Tensor, values: Tensor) -> Tensor:
        """Return the values with one axis of assigned elements."""
        before, after = x.shape[: self.first], x.shape[self.axes[-1] + 1 :]
        whole = values.to(x.dtype).expand(*before, *self.shape, *after)
        return whole.reshape(*before, self.assigned, *after)


def _constants(
    x: Tensor, indices: _Indices, values: Tensor, accumulate: bool = False
) -> tuple[Tensor, ...]:
    """The source of each place where the indices are known, else numbers to find it with.

    Places come first among the sources, then the assigned elements.
    """
    places = _Places(x, indices)
    numbers = torch.arange(places.count)
    if accumulate:
        return (numbers,)
    if not all(_is_real(index) for index in _given(indices).values()):
        return numbers, torch.arange(1, places.assigned + 1).reshape(-1, 1)
    for element, place in enumerate(places.flat(indices).tolist()):
        numbers[place] = places.count + element
    return (numbers,)


def _is_real(index: Tensor) -> bool:
    return type(index) is Tensor


def _assigned(
    x: Tensor,
    indices: _Indices,
    values: Tensor,
    accumulate: bool = False,
    *,
    constants: tuple[Tensor, ...],
) -> Tensor:
    places = _Places(x, indices)
    if accumulate:
        return _summed(x, indices, values, places, constants[0])
    if len(constants) == 1:
        source = constants[0]
    else:
        numbers, order = constants
        hits = (places.flat(indices).reshape(-1, 1) == numbers).to(torch.int64)
        latest = (hits * order).amax(0)
        source = torch.where(latest > 0, latest + (places.count - 1), numbers)
    joined = torch.cat([places.of(x), places.elements(x, values)], dim=places.first)
    return joined.index_select(places.first, source).reshape(x.shape)


def _summed(
    x: Tensor, indices: _Indices, values: Tensor, places: _Places, numbers: Tensor
) -> Tensor:
    """Add up all that is assigned to one place, as a product with ones where it belongs."""
    chosen = (places.flat(indices).reshape(-1, 1) == numbers).to(x.dtype)
    elements = places.elements(x, values).movedim(places.first, -1)
    added = torch.matmul(elements, chosen).movedim(-1, places.first)
    return x + added.reshape(x.shape)


def _is_indexed(x: Tensor, indices: _Indices, values: Tensor, accumulate: bool = False) -> bool:
    given = _given(indices)
    if accumulate and not x.is_floating_point():
        return False
    if not given or not all(isinstance(size, int) for size in x.shape):
        return False
    if any(index.dtype in (torch.bool, torch.uint8) for index in given.values()):
        return False
    places = _Places(x, indices)
    return places.joined and places.count * places.assigned <= _MOST_COMPARED


def _is_beyond_core_ml(
    x: Tensor, indices: _Indices, values: Tensor, accumulate: bool = False
) -> bool:
    """Return True if whole axes stand beside several indices, or the indices broadcast."""
    given = _given(indices).values()
    several = any(index.numel() != 1 for index in given)
    whole = len(given) != len(indices) and several
    uneven = len({tuple(index.shape) for index in given}) > 1
    return (whole or uneven) and _is_indexed(x, indices, values, accumulate)


def _added(x: Tensor, axis: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Any:
    whole: list[Tensor | None] = [None] * (axis % x.dim())
    return torch.ops.aten.index_put(x, [*whole, index], source * alpha, True)


def _is_addable(x: Tensor, axis: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> bool:
    return x.dim() > 0 and x.is_floating_point()


def _numbers(x: Tensor, axis: int, *_: Any, **__: Any) -> tuple[Tensor, ...]:
    axis %= x.dim()
    return (torch.arange(int(x.shape[axis])).reshape(-1, *[1] * (x.dim() - axis)),)


def _scattered(
    x: Tensor, axis: int, index: Tensor, source: Tensor, *, constants: tuple[Tensor, ...]
) -> Tensor:
    """Compare every element's place with all places, and add up where they agree."""
    axis %= x.dim()
    chosen = (index.unsqueeze(axis) == constants[0]).to(x.dtype)
    return x + (chosen * source.unsqueeze(axis)).sum(axis + 1)


def _is_comparable(x: Tensor, axis: int, index: Tensor, source: Tensor) -> bool:
    if not x.is_floating_point() or x.dim() in (0, 5) or index.shape != source.shape:
        return False
    if not all(isinstance(size, int) for size in (*x.shape, *index.shape)):
        return False
    axis %= x.dim()
    alike = all(x.shape[other] == index.shape[other] for other in range(x.dim()) if other != axis)
    return alike and index.numel() * int(x.shape[axis]) <= _MOST_COMPARED


def _adds(x: Tensor, indices: _Indices, values: Tensor, accumulate: bool = False) -> bool:
    return accumulate and _is_indexed(x, indices, values, accumulate)


_OPERATOR = frozenset({"aten.index_put.default"})

RULES = (
    Rule(
        _OPERATOR,
        frozenset({"coreml", "litert"}),
        "the number of elements that a mask chooses is not known before the run",
        _masked,
        _is_masked,
    ),
    Rule(
        _OPERATOR,
        frozenset({"coreml"}),
        "Core ML assigns to one index of an axis at a time",
        _assigned,
        _is_beyond_core_ml,
        _constants,
    ),
    Rule(
        _OPERATOR,
        frozenset({"litert"}),
        "LiteRT assigns to places, and does not add up at them",
        _assigned,
        _adds,
        _constants,
    ),
    Rule(
        frozenset({"aten.index_add.default"}),
        frozenset({"litert"}),
        "LiteRT assigns to places, and does not add up at them",
        _added,
        _is_addable,
    ),
    Rule(
        frozenset({"aten.scatter_add.default"}),
        frozenset({"litert"}),
        "LiteRT assigns to places, and does not add up at them",
        _scattered,
        _is_comparable,
        _numbers,
    ),
)
