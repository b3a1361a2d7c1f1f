from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.report.quantities import (
    MISSING,
    bound_text,
    bytes_text,
    cosine_text,
    count_text,
    decibel_text,
    error_text,
    milliseconds_text,
    share_text,
)
from edgesdk.report.scales import linear_scale, log_scale
from edgesdk.report.scatter import Point, scatter_plot, undominated


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (14_163_000, "14.2 MB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (1_204_000_000, "1.20 GB"),
        (None, MISSING),
    ],
)
def test_bytes(value: int | None, text: str) -> None:
    assert bytes_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000 ms"),
        (0.0004, "< 0.001 ms"),
        (0.1234, "0.123 ms"),
        (9.7, "9.70 ms"),
        (9.996, "10.0 ms"),
        (99.97, "100 ms"),
        (1239.6, "1,240 ms"),
        (3.2e12, "3.20e12 ms"),
        (None, MISSING),
    ],
)
def test_milliseconds(value: float | None, text: str) -> None:
    assert milliseconds_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.000000"),
        (1.0000002, "1.000000"),
        (0.9999996, "0.999999"),
        (0.9712, "0.971200"),
        (-0.25, "-0.250000"),
        (None, MISSING),
    ],
)
def test_only_equality_reads_as_a_cosine_of_one(value: float | None, text: str) -> None:
    assert cosine_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.9999, "99.9 %"),
        (0.00001, "< 0.1 %"),
        (0.75, "75.0 %"),
        (0.57, "57.0 %"),
        (1 - 1e-12, "99.9 %"),
        (None, MISSING),
    ],
)
def test_only_the_whole_reads_as_all(value: float | None, text: str) -> None:
    assert share_text(value) == text


def test_other_figures() -> None:
    assert [error_text(value) for value in (0.0, 2.4e-4, 9.3e-4, 0.034, 2.41, None)] == [
        "0",
        "2.4e-4",
        "9.3e-4",
        "0.034",
        "2.4",
        MISSING,
    ]
    assert decibel_text(104.24) == "104.2 dB"
    assert bound_text(0.9999) == "0.9999"
    assert bound_text(1e-6) == "1e-6"
    assert count_text(3_504_872) == "3,504,872"


@given(st.integers() | st.integers(min_value=10**300, max_value=10**400))
def test_any_integer_can_be_written(value: int) -> None:
    assert len(bytes_text(value)) < 30
    assert len(count_text(value)) < 30


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_figure_can_be_written(value: float) -> None:
    for write in (milliseconds_text, cosine_text, error_text, decibel_text, share_text, bound_text):
        text = write(value)
        assert 0 < len(text) < 40


figures = st.floats(0, 1e300) | st.floats(0, 100)


@settings(max_examples=50)
@given(st.lists(figures, max_size=6))
def test_a_linear_scale_keeps_order_and_stays_inside(values: list[float]) -> None:
    scale = linear_scale(values)
    places = [scale.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    assert scale.at(0) == 0
    assert 2 <= len(scale.ticks) <= 5
    assert all(0 <= tick <= scale.high for tick in scale.ticks)


@settings(max_examples=50)
@given(st.lists(figures, max_size=6))
def test_a_log_scale_keeps_order_and_stays_inside(values: list[float]) -> None:
    scale = log_scale(values)
    places = [scale.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    assert 2 <= len(scale.ticks) <= 5


def test_places_by_hand() -> None:
    linear = linear_scale([8.0, 20.0])
    assert list(linear.ticks) == [0, 5, 10, 15, 20]
    assert linear.at(10.4) == pytest.approx(50)
    log = log_scale([1e-6, 1e-2])
    assert (log.low, log.high) == (-6, -2)
    assert log.at(1e-4) == pytest.approx(50)
    assert log.at(0) == 0
    assert [math.log10(tick) for tick in log.ticks] == pytest.approx([-6, -5, -4, -3, -2])


def point(label: str, x: float, y: float, eligible: bool = True) -> Point:
    return Point(label, x, y, label, eligible=eligible)


def test_what_no_other_beats_on_both_axes() -> None:
    points = [
        point("fast", 1, 9),
        point("small", 9, 1),
        point("both beaten", 9, 9),
        point("cheats", 0, 0, eligible=False),
        point("twin of fast", 1, 9),
    ]
    assert undominated(points) == [True, True, False, False, True]


def test_labels_of_near_points_keep_apart() -> None:
    points = [point(f"p{index}", 10, 100 + index * 1e-3) for index in range(30)]
    page = str(scatter_plot(points, str, str, "near points"))
    tops = sorted(float(part.split("px")[0]) for part in page.split('style="top:')[1:])
    assert len(tops) == 30
    assert all(b - a >= 22 for a, b in itertools.pairwise(tops))
    height = float(page.split('style="height:')[1].split("px")[0])
    assert tops[0] >= 0 and tops[-1] + 22 <= height
    assert scatter_plot(points[:1], str, str, "one point") == ""
