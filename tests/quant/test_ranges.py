"""Ranges from streamed values, against numbers by hand and against everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgesdk.errors import DataError, UnknownNameError
from edgesdk.quant.ranges import BINS, RangeObserver, scale_and_zero_point
from edgesdk.quant.spec import RANGE_METHODS


def _seen(method: str, *batches: np.ndarray, bits: int = 8) -> tuple[float, float]:
    observer = RangeObserver(method, bits)
    for batch in batches:
        observer.add(np.asarray(batch, np.float32))
    return observer.range()


def test_extremes():
    assert _seen("min_max", [1.0, -2.0], [3.0, 0.0]) == (-2.0, 3.0)
    # Zero always lies in the range: padding must be exact.
    assert _seen("min_max", [1.0, 2.0]) == (0.0, 2.0)
    assert _seen("min_max", [-3.0, -2.0]) == (-3.0, 0.0)


def test_a_moving_average_follows_with_a_tenth():
    low, high = _seen("moving_average", [-1.0, 1.0], [-3.0, 2.0])
    assert (low, high) == pytest.approx((-1.2, 1.1))


def test_the_percentile_leaves_a_ten_thousandth_out():
    values = np.linspace(-1, 1, 20_000, dtype=np.float32)
    spoiled = np.concatenate([values, [50.0]]).astype(np.float32)
    low, high = _seen("percentile", spoiled)
    # One value of 20,001 is less than a ten-thousandth; what is left ends within a bin of 1.
    assert high == pytest.approx(1.0, abs=2 * 51 / BINS)
    assert low == pytest.approx(-1.0, abs=2 * 51 / BINS)


def test_clipping_pays_where_few_values_lie_far_out():
    generator = np.random.default_rng(0)
    values = generator.standard_normal(50_000).astype(np.float32)
    values[0] = 12.0
    for method in ("mse", "entropy"):
        low, high = _seen(method, values, bits=4)
        assert 1.5 < high < 9.0, method
        assert low < 0


def test_the_mse_range_beats_the_full_one():
    """Rounded in the chosen range, values lie nearer to themselves than in the full range."""
    generator = np.random.default_rng(1)
    values = generator.laplace(size=40_000).astype(np.float32)

    def error(low: float, high: float) -> float:
        scale, zero = scale_and_zero_point(low, high, bits=4)
        integers = np.clip(np.rint(values / scale) + zero, -8, 7)
        return float(np.mean(((integers - zero) * scale - values) ** 2))

    assert error(*_seen("mse", values, bits=4)) < 0.7 * error(*_seen("min_max", values))


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_a_dead_tensor_has_a_range(method):
    assert _seen(method, np.zeros(10), np.zeros(3)) == (0.0, 0.0)
    low, high = _seen(method, np.full(10, 5.0))
    assert low == 0.0
    assert high == pytest.approx(5.0, rel=1e-5)


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_values_that_are_no_numbers(method):
    observer = RangeObserver(method)
    with pytest.raises(DataError, match="NaN"):
        observer.add(np.array([0.0, np.nan], np.float32))
    with pytest.raises(DataError, match="NaN or infinity"):
        observer.add(np.array([np.inf], np.float32))
    with pytest.raises(DataError, match="no values to take a range"):
        RangeObserver(method).range()


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="min_max"):
        RangeObserver("minmax")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), min_size=1, max_size=6
    ),
    st.sampled_from(("percentile", "mse", "entropy", "min_max")),
)
def test_a_range_lies_within_what_was_seen(batches, method):
    everything = np.concatenate([np.asarray(batch, np.float32) for batch in batches])
    low, high = _seen(method, *batches)
    slack = 1e-5 * max(1e-12, float(np.abs(everything).max()))
    assert min(float(everything.min()), 0) - slack <= low <= 0
    assert 0 <= high <= max(float(everything.max()), 0) + slack


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=60))
def test_counts_survive_a_growing_histogram(values):
    """However the range grows, no value is lost."""
    observer = RangeObserver("percentile")
    for value in values:
        observer.add(np.array([value], np.float32))
    assert observer._counts.sum() == len(values)


def test_scales_by_hand():
    # 0..255 in 8 bits: a step of one, zero at the lowest integer.
    assert scale_and_zero_point(0.0, 255.0) == (1.0, -128)
    assert scale_and_zero_point(-128.0, 127.0) == (1.0, 0)
    assert scale_and_zero_point(-1.0, 3.0, bits=2) == (pytest.approx(4 / 3), -1)
    assert scale_and_zero_point(-127.0, 10.0, symmetric=True) == (1.0, 0)
    assert scale_and_zero_point(0.0, 0.0) == (1.0, 0)
    assert scale_and_zero_point(0.0, 0.0, symmetric=True) == (1.0, 0)


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e4, 0), st.floats(0, 1e4), st.sampled_from((4, 8, 16)))
@example(0.0, 5e-324, 4)
@example(-1e-40, 1e-40, 8)
def test_zero_is_exact_and_the_range_is_covered(low, high, bits):
    scale, zero = scale_and_zero_point(low, high, bits=bits)
    smallest, largest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert smallest <= zero <= largest
    # Rounding the zero point moves either end by half a step at most.
    assert (smallest - zero) * scale <= low + scale * 0.501 + 1e-9
    assert (largest - zero) * scale >= high - scale * 0.501 - 1e-9
