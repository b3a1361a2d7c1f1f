"""Format the numbers of the manifest as text.

These functions never raise on a strange number: a manifest is untrusted, and a negative time or a
size of a thousand digits must not cost more than an odd cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "MISSING",
    "amount_text",
    "bound_text",
    "bytes_text",
    "cosine_text",
    "count_text",
    "decibel_text",
    "error_text",
    "milliseconds_text",
    "plain_number",
    "share_text",
]

#: Text for a figure that does not exist.
MISSING = "–"

# A larger integer cannot be a measurement, and a float could not hold it.
_LARGEST = 10**18

# 0.57 * 100 is a little less than 57; rounding down must not show 56.9.
_SLACK = 1e-6

_AMOUNT_UNITS = ("k", "M", "G", "T", "P")
_BYTE_UNITS = ("kB", "MB", "GB", "TB", "PB")


def plain_number(value: float) -> float:
    """Return any number of the manifest as a float, clamped to -1e18..1e18."""
    return float(max(-_LARGEST, min(_LARGEST, value)))


def _three_digits(value: float) -> str:
    """Write three significant digits without an exponent, thousands separated."""
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995:
        return f"{value:.2f}"
    return f"{value:.3f}"


def _in_units(value: float, units: Sequence[str]) -> str:
    """Write a number of at least 1000 in the unit that leaves fewer than 1000 of it."""
    value /= 1000
    unit = 0
    # 999.5 would be written as 1,000 of its unit.
    while abs(value) >= 999.5 and unit < len(units) - 1:
        value /= 1000
        unit += 1
    return f"{_three_digits(value)} {units[unit]}"


def count_text(value: int) -> str:
    """Write a count: ``3,504,872``."""
    if abs(value) >= _LARGEST:
        return "over 10^18"
    return f"{value:,}"


def amount_text(value: int) -> str:
    """Write a large count with three significant digits: ``385 M``."""
    size = plain_number(value)
    return f"{size:.0f}" if abs(size) < 1000 else _in_units(size, _AMOUNT_UNITS)


def bytes_text(value: int | None) -> str:
    """Write bytes in decimal units with three significant digits: ``14.2 MB``."""
    if value is None:
        return MISSING
    size = plain_number(value)
    return f"{size:.0f} B" if size < 1000 else _in_units(size, _BYTE_UNITS)


def milliseconds_text(value: float | None) -> str:
    """Write milliseconds with three significant digits: ``9.73 ms``, ``1,240 ms``."""
    if value is None:
        return MISSING
    if 0 < value < 0.001:
        return "< 0.001 ms"
    if abs(value) >= 1e9:
        return f"{_tidy(f'{value:.2e}')} ms"
    return f"{_three_digits(value)} ms"


def cosine_text(value: float | None) -> str:
    """Write a cosine similarity with six decimals, rounded down so that only equality is 1."""
    if value is None:
        return MISSING
    # float32 rounding moves the cosine of equal vectors by this much.
    if value >= 1 - 1e-7:
        return "1.000000"
    return f"{math.floor(plain_number(value) * 1e6 + _SLACK) / 1e6:.6f}"


def error_text(value: float | None) -> str:
    """Write a difference with two significant digits: ``2.4e-4``, ``0.034``."""
    if value is None:
        return MISSING
    if 0 < abs(value) < 1e-3:
        return _tidy(f"{value:.1e}")
    return _tidy(f"{value:.2g}")


def _tidy(text: str) -> str:
    """Write ``2.4e-04`` as ``2.4e-4``."""
    digits, separator, exponent = text.partition("e")
    return f"{digits}e{int(exponent)}" if separator else text


def decibel_text(value: float | None) -> str:
    """Write a signal-to-noise ratio: ``104.2 dB``."""
    return MISSING if value is None else f"{plain_number(value):.1f} dB"


def share_text(value: float | None) -> str:
    """Write a share of 0..1 in percent; only 1 becomes 100 % and only 0 becomes 0 %."""
    if value is None:
        return MISSING
    percent = plain_number(value) * 100
    if percent in (0.0, 100.0):
        return f"{percent:.0f} %"
    if 0 < percent < 0.1:
        return "< 0.1 %"
    tenths = math.floor(percent * 10 + _SLACK)
    # Rounding down keeps 99.96 % from becoming 100 %.
    if percent < 100:
        tenths = min(tenths, 999)
    return f"{tenths / 10:.1f} %"


def bound_text(value: float) -> str:
    """Write a bound of a gate with all digits that the user gave."""
    return _tidy(f"{value:.10g}")
