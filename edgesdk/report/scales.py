"""Scales that map a value to its position on an axis, in percent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgesdk.report.quantities import plain_number

__all__ = ["LinearScale", "LogScale", "Scale", "linear_scale", "log_scale"]

_LOWEST_DECADE = -12
_HIGHEST_DECADE = 18


@dataclass(frozen=True)
class LinearScale:
    """Linear scale from zero to ``high``.

    Attributes:
        high: Value at the far end, above zero.
        ticks: Round values on the axis, from zero.
    """

    high: float
    ticks: Sequence[float]

    def at(self, value: float) -> float:
        """Return the position of ``value``, clamped to 0..100."""
        return max(0.0, min(100.0, plain_number(value) / self.high * 100))


@dataclass(frozen=True)
class LogScale:
    """Logarithmic scale from ``10**low`` to ``10**high``.

    Attributes:
        low: Exponent at the near end.
        high: Exponent at the far end, above ``low``.
        ticks: Powers of ten on the axis.
    """

    low: int
    high: int
    ticks: Sequence[float]

    def at(self, value: float) -> float:
        """Return the position of ``value``, clamped to 0..100; zero is at the near end."""
        if value <= 0:
            return 0.0
        place = (math.log10(plain_number(value)) - self.low) / (self.high - self.low) * 100
        return max(0.0, min(100.0, place))


Scale = LinearScale | LogScale


def linear_scale(values: Iterable[float], max_ticks: int = 5) -> LinearScale:
    """Make a scale from zero to just beyond the largest of ``values``."""
    largest = max((plain_number(value) for value in values), default=0.0)
    # A subnormal largest value would make the step zero.
    if largest < 1e-9:
        return LinearScale(1.0, (0.0, 1.0))
    magnitude = 10.0 ** math.floor(math.log10(largest))
    steps = (magnitude * factor for factor in (0.2, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0))
    step = next(step for step in steps if largest / step <= max_ticks - 1)
    count = math.floor(largest / step * (1 + 1e-9))
    return LinearScale(largest * 1.04, tuple(step * index for index in range(count + 1)))


def log_scale(values: Iterable[float], max_ticks: int = 5) -> LogScale:
    """Make a scale over whole decades that contains all positive ``values``."""
    exponents = [math.log10(plain_number(value)) for value in values if value > 0]
    low = max(_LOWEST_DECADE, math.floor(min(exponents, default=0.0)))
    high = min(_HIGHEST_DECADE, math.ceil(max(exponents, default=1.0)))
    high = max(high, low + 1)
    step = math.ceil((high - low) / (max_ticks - 1))
    return LogScale(low, high, tuple(10.0**exponent for exponent in range(low, high + 1, step)))
