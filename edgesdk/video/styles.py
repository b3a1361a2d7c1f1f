"""The styles of a network: find the input that takes their shares, and fill it."""

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

#: Largest distance of a blend's sum from 1 that is scaled without a remark.
_ROUNDING = 0.01
#: Maximum number of styles named in a sentence.
_NAMED = 24


@dataclass(frozen=True)
class StyleInput:
    """The input of a network that takes the shares of its styles.

    Attributes:
        name: Name of the input.
        shape: Shape of the input: one axis has a value for each style, all others have one value.
        dtype: Type of the input, a float.
        names: Names of the styles in the order of the shares; empty if they have none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of styles."""
        return math.prod(self.shape)

    def array(self, shares: NDArray[np.float32]) -> np.ndarray:
        """Return shares, one for each style, in the shape and type of the input."""
        return shares.reshape(self.shape).astype(self.dtype)

    def remarks(
        self, style: str | int | None, blend: Mapping[str, float] | None
    ) -> tuple[str, ...]:
        """Explain to the user how a choice, as for :func:`style_vector`, was read."""
        if blend:
            total = math.fsum(blend.values())
            # 0.99 cannot be represented exactly in binary.
            if abs(total - 1) <= _ROUNDING + 1e-9:
                return ()
            return (f"the weights of the blend add up to {total:.3g} and were scaled to 1",)
        if style is not None or self.count == 1:
            return ()
        if not self.names:
            last = self.count - 1
            return (f"no style was chosen: painted in style 0 of {self.count} (0 to {last})",)
        listed = ", ".join(self.names[:_NAMED])
        more = self.count - _NAMED
        return (
            f"no style was chosen: painted in {self.names[0]}, the first of {listed}"
            + (f" and {more} more" if more > 0 else ""),
        )


def find_style_input(specs: Iterable[TensorSpec], names: Sequence[str] = ()) -> StyleInput | None:
    """Find the one input that takes the shares of styles: a float vector along any axis.

    Args:
        specs: Inputs of a network; a picture never counts.
        names: Names of the styles, if they have names.

    Returns:
        The input; None if there is none, or if several would fit.

    Raises:
        UsageError: Names are invalid, or no input takes as many shares.
    """
    checked = tuple(check_style_names(names))
    listed = list(specs)
    found = [
        (spec, shape)
        for spec in listed
        if (shape := _vector(spec)) is not None
        # A single number may mean anything, unless a style has a name.
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
    """Return the shape to pass a float vector in, dynamic axes at 1; None if it is not a vector."""
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
    """Return shares of ``count`` styles that sum to 1: one style, by default the first, or a blend.

    Args:
        count: Number of styles.
        style: Name of a style, or its number from 0. A name wins over a number.
        blend: Weights of several styles, scaled to a sum of 1.
        weights: A weight for each style in order, instead of both; scaled likewise.
        names: Names of the styles, if they have names.

    Raises:
        UnknownNameError: The style is unknown.
        UsageError: More than one choice was made, or the weights are not shares of all styles.
    """
    if (style is not None) + bool(blend) + (weights is not None) > 1:
        raise UsageError("give one style, a blend or weights, not both")
    vector = np.zeros(count)
    if weights is not None:
        vector = _numbers(weights)
        if vector.size != count:
            raise UsageError(
                f"{vector.size} weights of {count} styles", remedy="give one weight for each style"
            )
    elif blend:
        for key, weight in blend.items():
            place = _place(key, count, names)
            _check_weight(key, weight)
            vector[place] += weight
    else:
        vector[0 if style is None else _place(style, count, names)] = 1
    total = sum(vector.tolist())
    if not 0 < total < math.inf:
        raise UsageError(
            "the weights of a blend must not all be zero"
            if total == 0
            else "the weights of a blend are too large to add up",
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
        raise UsageError("the weights of styles must be numbers, one for each style") from error
    for place, weight in enumerate(vector.tolist()):
        _check_weight(place, weight)
    return vector


def _check_weight(style: str | int, weight: float) -> None:
    if not (math.isfinite(weight) and weight >= 0):
        raise UsageError(f"the weight of style {style} must not be negative, but is {weight}")
