"""The styles of a network: which input takes their shares, and what a user chooses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.spec import TensorSpec
from edgesdk.style_names import MAX_STYLES, check_style_names

__all__ = ["StyleInput", "find_style_input", "style_vector"]

#: How far the sum of a blend may be from 1 before the user is told that it was scaled.
_ROUNDING = 0.01
#: Styles that a sentence names.
_NAMED = 24


@dataclass(frozen=True)
class StyleInput:
    """The input of a network that takes the shares of its styles.

    Attributes:
        name: Of the input.
        shape: One of its axes has as many values as there are styles, all others have one.
        dtype: A float.
        names: Names of the styles in the order of the shares; empty where they have none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many styles there are."""
        return math.prod(self.shape)

    def array(self, shares: NDArray[np.float32]) -> np.ndarray:
        """Shares, one a style, as the input takes them."""
        return shares.reshape(self.shape).astype(self.dtype)

    def remarks(
        self, style: str | int | None, blend: Mapping[str, float] | None
    ) -> tuple[str, ...]:
        """Sentences for the user on what was made of a choice.

        Args:
            style: As for :func:`style_vector`.
            blend: Likewise.
        """
        if blend:
            total = math.fsum(blend.values())
            # 0.99 is no number of its own in binary.
            if abs(total - 1) <= _ROUNDING + 1e-9:
                return ()
            return (f"the weights of the blend add up to {total:.3g} and were scaled to 1",)
        if style is not None or self.count == 1:
            return ()
        if not self.names:
            last = self.count - 1
            return (f"no style was chosen: painted in style 0 of {self.count} (0 to {last})",)
        told = ", ".join(self.names[:_NAMED])
        more = self.count - _NAMED
        return (
            f"no style was chosen: painted in {self.names[0]}, the first of {told}"
            + (f" and {more} more" if more > 0 else ""),
        )


def find_style_input(specs: Iterable[TensorSpec], names: Sequence[str] = ()) -> StyleInput | None:
    """The one input that takes the shares of styles: a float vector, whatever its axes.

    Args:
        specs: Inputs of a network; a picture is never taken for one.
        names: Names of the styles, where they have names.

    Returns:
        The input; None where there is none, or where several could be.

    Raises:
        UsageError: Names that are no names of styles, or no input that takes as many shares.
    """
    checked = tuple(check_style_names(names))
    listed = list(specs)
    vectors = [(spec, _vector(spec)) for spec in listed]
    found = [
        (spec, shape)
        for spec, shape in vectors
        if shape is not None
        # A single number may be anything, unless a name says that it is the share of a style.
        and (math.prod(shape) == len(checked) if checked else math.prod(shape) > 1)
    ]
    if checked and not found:
        raise UsageError(
            f"{len(checked)} styles have names ({', '.join(checked[:_NAMED])}"
            + (", ..." if len(checked) > _NAMED else "")
            + f"), and no input takes {len(checked)} shares: "
            + ", ".join(str(spec) for spec in listed),
            remedy="give one name for each value of the network's style input",
        )
    if len(found) != 1:
        return None
    spec, shape = found[0]
    return StyleInput(spec.name, shape, spec.dtype, checked)


def _vector(spec: TensorSpec) -> tuple[int, ...] | None:
    """The shape in which a float vector is passed, free axes at 1; None where it is no vector."""
    if not spec.dtype.startswith("float") or not spec.shape:
        return None
    if any(dim.smallest > 1 for dim in spec.dynamic.values()):
        return None
    shape = tuple(1 if axis in spec.dynamic else size for axis, size in enumerate(spec.shape))
    count = math.prod(shape)
    return shape if 0 < count <= MAX_STYLES and max(shape) == count else None


def style_vector(
    count: int,
    style: str | int | None = None,
    blend: Mapping[str, float] | None = None,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    names: Sequence[str] = (),
) -> NDArray[np.float32]:
    """Shares of ``count`` styles that sum to 1: one style, by default the first, or a blend.

    Args:
        count: How many styles there are.
        style: One of them, by its name or its number from 0; a name goes before a number.
        blend: Several of them with weights, which need not sum to 1.
        weights: A weight for each style in order, in place of both; neither need these sum to 1.
        names: Names of the styles, where they have names.

    Raises:
        UnknownNameError: No such style.
        UsageError: More than one choice, or weights that are negative, not finite, all zero or of
            another number.
    """
    if (style is not None) + bool(blend) + (weights is not None) > 1:
        raise UsageError("give one style, a blend or weights, not both")
    vector = np.zeros(count)
    if weights is not None:
        vector = _numbers(weights)
        if vector.size != count:
            raise UsageError(
                f"{vector.size} weights of {count} styles", remedy="give one number for each style"
            )
    elif blend:
        for key, weight in blend.items():
            place = _place(key, count, names)
            _check_weight(weight, f"of style {key}")
            vector[place] += weight
    else:
        vector[0 if style is None else _place(style, count, names)] = 1
    total = sum(vector.tolist())
    if not 0 < total < math.inf:
        raise UsageError(
            "the weights of a blend must not all be zero"
            if total == 0
            else "the weights of a blend are too large to be added up",
            remedy="give each style its share of 1",
        )
    return (vector / total).astype(np.float32)


def _place(style: str | int, count: int, names: Sequence[str]) -> int:
    if isinstance(style, str) and style in names:
        return list(names).index(style)
    numbers = [str(number) for number in range(count)]
    if str(style) in numbers:
        return numbers.index(str(style))
    error = UnknownNameError("style", str(style), names or numbers)
    if not names:
        error.remedy = f"give its number, 0 to {count - 1}"
    raise error


def _numbers(weights: Sequence[float] | np.ndarray) -> np.ndarray:
    try:
        vector = np.asarray(weights, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise UsageError("the weights of styles are numbers, one a style") from error
    for place, weight in enumerate(vector.tolist()):
        _check_weight(weight, f"of style {place}")
    return vector


def _check_weight(weight: float, of: str) -> None:
    if not (math.isfinite(weight) and weight >= 0):
        raise UsageError(f"the weight {of} must not be negative, but is {weight}")
