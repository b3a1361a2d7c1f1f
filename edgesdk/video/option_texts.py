"""Read options of a stylizing run from text."""

from __future__ import annotations

from fractions import Fraction

from edgesdk.errors import UsageError

__all__ = ["parse_blend", "parse_rate"]


def parse_blend(text: str) -> dict[str, float]:
    """Read ``A:0.3,B:0.7``.

    Raises:
        UsageError: The text has another form, a weight is negative, or all are zero.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, colon, weight = (text.strip() for text in part.rpartition(":"))
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if not colon or not name or not 0 <= value < float("inf") or name in found:
            raise UsageError(
                f"{part.strip()!r} is not a style with a weight", remedy="write --blend A:0.3,B:0.7"
            )
        found[name] = value
    if not sum(found.values()):
        raise UsageError(
            "the weights of the blend are all zero", remedy="give at least one a positive weight"
        )
    return found


def parse_rate(text: str) -> Fraction:
    """Read ``25``, ``29.97`` or ``30000/1001``.

    Raises:
        UsageError: The text has another form, or the rate is not between 0 and 1000.
    """
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise UsageError(
            f"{text!r} is not a number of frames per second, up to 1000", remedy="write --rate 25"
        )
    return rate
