"""Scatter plot with labels at the edge and leader lines, so that close points stay legible."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgesdk.report.quantities import plain_number
from edgesdk.report.scales import Scale, linear_scale, log_scale
from edgesdk.report.svg import element, percent

__all__ = ["Point", "scatter_plot", "undominated"]

_SPACING = 22
_MIN_HEIGHT = 280
_TOP = 14
_BOTTOM = 30
# Values further apart than this factor need a logarithmic axis.
_LOG_FROM = 20


@dataclass(frozen=True)
class Point:
    """One artefact of the plot.

    Attributes:
        label: Name of the artefact.
        x: Latency in milliseconds.
        y: Size in bytes.
        title: Tooltip.
        family: Target family, for the colour.
        eligible: True if it may be recommended.
    """

    label: str
    x: float
    y: float
    title: str
    family: str = "other"
    eligible: bool = True


def undominated(points: Sequence[Point]) -> list[bool]:
    """Return True for each eligible point that is not dominated by another eligible point."""

    def dominates(other: Point, point: Point) -> bool:
        return (
            other.x <= point.x and other.y <= point.y and (other.x < point.x or other.y < point.y)
        )

    eligible = [point for point in points if point.eligible]
    return [
        point.eligible and not any(dominates(other, point) for other in eligible)
        for point in points
    ]


def _scale(values: Sequence[float]) -> Scale:
    positive = [value for value in values if value > 0]
    if len(positive) == len(values) and max(values) / min(values) >= _LOG_FROM:
        return log_scale(values)
    return linear_scale(values, max_ticks=5)


def _label_places(wanted: Sequence[float], height: float) -> list[float]:
    """Return positions in pixels near the ascending ``wanted``, kept apart."""
    places = list(wanted)
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + _SPACING)
    limit = height - _BOTTOM
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - _SPACING
    return places


def _grid(
    across: Sequence[tuple[float, str]], down: Sequence[tuple[float, str]], floor: float
) -> Markup:
    """Draw ticks with their texts, at positions in percent across and in pixels down."""
    marks = []
    for level, text in down:
        marks.append(element("line", x1=0, x2="100%", y1=level, y2=level, class_="grid"))
        marks.append(element("text", text, x=0, y=level - 4, class_="tick"))
    # The labels of the y axis are at the left, so the x axis omits ticks below them.
    for place, text in across:
        x = percent(place)
        marks.append(element("line", x1=x, x2=x, y1=_TOP, y2=floor, class_="grid"))
        anchor = "end" if place > 92 else "middle"
        if place > 4:
            marks.append(
                element("text", text, x=x, y=floor + 16, class_="tick", text_anchor=anchor)
            )
    return Markup("").join(marks)


def scatter_plot(
    points: Sequence[Point],
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    description: str,
) -> Markup:
    """Draw points, undominated ones filled, the others as rings; empty with fewer than two.

    Args:
        points: Points in any order.
        x_text: Writes a tick of the x axis.
        y_text: Writes a tick of the y axis.
        description: Description of the plot for screen readers.
    """
    if len(points) < 2:
        return Markup("")
    height = max(_MIN_HEIGHT, len(points) * _SPACING + _TOP + _BOTTOM)
    x = _scale([plain_number(point.x) for point in points])
    y = _scale([plain_number(point.y) for point in points])

    def across(value: float) -> float:
        return 2 + 0.94 * x.at(value)

    def down(value: float) -> float:
        return height - _BOTTOM - (height - _BOTTOM - _TOP) * y.at(value) / 100

    best = dict(zip(points, undominated(points), strict=True))
    # Of two points at the same height, the right one is labelled first: its leader is in front.
    ordered = sorted(points, key=lambda point: (down(point.y), -point.x))
    places = _label_places([down(point.y) for point in ordered], height)
    leaders, marks, labels = [], [], []
    for point, place in zip(ordered, places, strict=True):
        cx, cy = percent(across(point.x)), down(point.y)
        leaders.append(element("line", x1=cx, y1=cy, x2="100%", y2=place, class_="leader"))
        shape = "dot" if best[point] else "dot hollow"
        title = element("title", point.title)
        circle = element("circle", cx=cx, cy=cy, r=6, class_=shape)
        marks.append(element("g", title, circle, class_=f"family-{point.family}"))
        labels.append(
            element(
                "li",
                point.label,
                style=f"top:{place - _SPACING / 2:.0f}px",
                title=point.title,
                class_=f"family-{point.family}",
            )
        )
    grid = _grid(
        [(across(tick), x_text(tick)) for tick in x.ticks],
        [(down(tick), y_text(tick)) for tick in y.ticks],
        height - _BOTTOM,
    )
    canvas = element(
        "svg",
        *itertools.chain([grid], leaders, marks),
        class_="canvas",
        width="100%",
        height=height,
        role="img",
        aria_label=description,
    )
    names = element("ol", *labels, class_="scatter-labels", style=f"height:{height}px")
    return element("div", canvas, names, class_="scatter")
