"""Checks of names and numbers, and their errors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from edgesdk.errors import UnknownNameError, UsageError

__all__ = ["array_kind", "code_of", "number_between", "real_number", "whole_number"]

_LARGEST = 2**31 - 1


def array_kind(value: object) -> str:
    """Describe a wrong argument in an error: type and shape of an array, class of anything else."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def code_of(kind: str, name: str, known: Mapping[str, int]) -> int:
    """Return the number of a name.

    Raises:
        UnknownNameError: The name is unknown; the message suggests the nearest one.
    """
    if name not in known:
        raise UnknownNameError(kind, str(name), known)
    return known[name]


def whole_number(name: str, value: object, low: int, high: int = _LARGEST) -> int:
    """Return a whole number within bounds.

    Raises:
        UsageError: It is not a whole number, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UsageError(f"{name} must be a whole number, not {value!r}")
    if not low <= value <= high:
        raise UsageError(f"{name} must be {low} to {high}, not {value}")
    return int(value)


def real_number(name: str, value: object) -> float:
    """Return a finite number.

    Raises:
        UsageError: It is not a number, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise UsageError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise UsageError(f"{name} must be finite, not {value}")
    return float(value)


def number_between(name: str, value: object, low: float, high: float) -> float:
    """Return a number within bounds.

    Raises:
        UsageError: It is not a finite number, or out of bounds.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise UsageError(f"{name} must be a number from {low} to {high}, not {value!r}")
    return float(value)
