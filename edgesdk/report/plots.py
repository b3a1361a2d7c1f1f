"""Plots as HTML lists with SVG tracks: text keeps its size at any width, bars take the rest.

Every position is a percentage, so plots need neither scripts nor a fixed width. Every figure is
written beside its bar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgesdk.report.scales import LinearScale, Scale, linear_scale, log_scale
from edgesdk.report.svg import element, percent

__all__ = ["Bar", "Dot", "bar_plot", "dot_plot", "meter"]

_ROW = 26
_MIDDLE = _ROW / 2
_BAR = 12


@dataclass(frozen=True)
class Bar:
    """A row of a bar plot.

    Attributes:
        label: Name of the row.
        value: Length of the bar in the unit of the plot.
        text: Value as text.
        title: Tooltip.
        family: Target family, for the colour.
        low: Near end of the whisker, or None.
        high: Far end of the whisker, or None.
        hint: Second line under the label.
    """

    label: str
    value: float
    text: str
    title: str
    family: str = "other"
    low: float | None = None
    high: float | None = None
    hint: str = ""


@dataclass(frozen=True)
class Dot:
    """A row of a logarithmic dot plot.

    Attributes:
        label: Name of the row.
        value: Position of the dot; zero or less is drawn at the near end, None is not drawn.
        text: Value as text.
        title: Tooltip.
        gate: Position of the gate line.
        family: Target family, for the colour.
        passed: True if the value meets the gate.
        hollow: True to draw a ring, for figures of an evaluator.
        hint: Second line under the label.
    """

    label: str
    value: float | None
    text: str
    title: str
    gate: float
    family: str = "other"
    passed: bool = True
    hollow: bool = False
    hint: str = ""


def _gridlines(scale: Scale) -> Markup:
    return Markup("").join(
        element(
            "line", x1=percent(scale.at(t)), x2=percent(scale.at(t)), y1=0, y2=_ROW, class_="grid"
        )
        for t in scale.ticks
    )


def _track(title: str, *marks: Markup) -> Markup:
    # The empty rectangle shows the tooltip on the whole row.
    area = element("rect", width="100%", height=_ROW, class_="area")
    return element(
        "svg",
        element("g", element("title", title), *marks, area),
        class_="track",
        width="100%",
        height=_ROW,
        aria_hidden="true",
    )


def _row(label: str, hint: str, family: str, track: Markup, text: str) -> Markup:
    name = element("span", label, class_="plot-name")
    if hint:
        name += element("span", hint, class_="plot-hint")
    return element(
        "li",
        element("span", name, class_="plot-label", title=label),
        track,
        element("span", text, class_="plot-value"),
        class_=f"plot-row family-{family}",
    )


def _axis(scale: Scale, tick_text: Callable[[float], str]) -> Markup:
    def anchor(position: float) -> str:
        if position < 8:
            return "start"
        return "end" if position > 92 else "middle"

    texts = Markup("").join(
        element("text", tick_text(t), x=percent(scale.at(t)), y=14, text_anchor=anchor(scale.at(t)))
        for t in scale.ticks
    )
    return element(
        "li",
        element("svg", texts, class_="track", width="100%", height=20),
        class_="plot-row plot-axis",
        aria_hidden="true",
    )


def _whisker(bar: Bar, scale: LinearScale) -> Markup:
    if bar.low is None or bar.high is None:
        return Markup("")
    low, high = percent(scale.at(bar.low)), percent(scale.at(bar.high))
    marks = [element("line", x1=low, x2=high, y1=_MIDDLE, y2=_MIDDLE, class_="whisker")]
    marks += [
        element("line", x1=end, x2=end, y1=_MIDDLE - 4, y2=_MIDDLE + 4, class_="whisker")
        for end in (low, high)
    ]
    return Markup("").join(marks)


def bar_plot(
    bars: Sequence[Bar], tick_text: Callable[[float], str] | None, description: str
) -> Markup:
    """Draw horizontal bars from zero, with optional whiskers; empty markup without bars.

    Args:
        bars: Rows from top to bottom.
        tick_text: Writes a tick of the axis; None for a plot without an axis.
        description: Description of the plot for screen readers.
    """
    if not bars:
        return Markup("")
    scale = linear_scale([max(bar.value, bar.high or 0) for bar in bars])
    grid = _gridlines(scale) if tick_text else Markup("")
    rows = []
    for bar in bars:
        body = element(
            "rect",
            x=0,
            y=_MIDDLE - _BAR / 2,
            # A minimum width keeps values near zero visible.
            width=percent(max(scale.at(bar.value), 0.4)),
            height=_BAR,
            rx=2,
            class_="bar",
        )
        track = _track(bar.title, grid, body, _whisker(bar, scale))
        rows.append(_row(bar.label, bar.hint, bar.family, track, bar.text))
    if tick_text:
        rows.append(_axis(scale, tick_text))
    return element("ol", *rows, class_="plot", aria_label=description)


def _power(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-").replace("e+00", "").replace("e+0", "e")


def dot_plot(dots: Sequence[Dot], description: str) -> Markup:
    """Draw dots on a logarithmic axis, each with the line of its own gate; smaller is better.

    Args:
        dots: Rows from top to bottom.
        description: Description of the plot for screen readers.
    """
    if not dots:
        return Markup("")
    values = [value for dot in dots for value in (dot.value, dot.gate) if value is not None]
    # Half a decade of margin on either side keeps marks off the ends.
    scale = log_scale([value * factor for value in values for factor in (0.3, 3)])
    grid = _gridlines(scale)
    rows = []
    for dot in dots:
        gate = percent(scale.at(dot.gate))
        marks = [grid, element("line", x1=gate, x2=gate, y1=0, y2=_ROW, class_="gate")]
        if dot.value is not None:
            place = percent(scale.at(dot.value))
            tone = "" if dot.passed else " missed"
            shape = " hollow" if dot.hollow else ""
            marks += [
                element("line", x1=0, x2=place, y1=_MIDDLE, y2=_MIDDLE, class_=f"stem{tone}"),
                element("circle", cx=place, cy=_MIDDLE, r=5, class_=f"dot{tone}{shape}"),
            ]
        track = _track(dot.title, *marks)
        rows.append(_row(dot.label, dot.hint, dot.family, track, dot.text))
    rows.append(_axis(scale, _power))
    return element("ol", *rows, class_="plot", aria_label=description)


def meter(share: float, title: str) -> Markup:
    """Draw a strip of which ``share``, 0..1, is filled."""
    return element(
        "svg",
        element("title", title),
        element("rect", width="100%", height=8, rx=4, class_="meter-all"),
        element("rect", width=percent(share * 100), height=8, rx=4, class_="meter-part"),
        class_="meter",
        width="100%",
        height=8,
        role="img",
        aria_label=title,
    )
