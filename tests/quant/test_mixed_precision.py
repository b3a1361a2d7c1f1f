"""Which layers stay float: the search against what trying every choice finds."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import QuantizationError, UsageError
from edgesdk.quant.mixed_precision import keep_float
from edgesdk.quant.sensitivity import LayerSensitivity, OutputError


def layer(path, noise, share):
    snr = math.inf if noise == 0 else -10 * math.log10(noise)
    return LayerSensitivity(path, "conv2d", 1, share, OutputError(snr, 1.0, None))


def additive(noises):
    """What is lost is the noise of all layers that are quantized."""
    return lambda kept: sum(noise for path, noise in noises.items() if path not in kept)


def case(noises, shares=None):
    shares = shares or [1 / len(noises)] * len(noises)
    paths = [f"l{index}" for index in range(len(noises))]
    layers = [layer(*row) for row in zip(paths, noises, shares, strict=True)]
    return layers, additive(dict(zip(paths, noises, strict=True)))


def test_nothing_stays_float_where_nothing_needs_to():
    layers, evaluate = case([0.1, 0.1])
    found = keep_float(layers, evaluate, max_drop=0.2)
    assert found.float_layers == ()
    assert (found.within_limit, found.share, found.drop, len(found.trials)) == (True, 0.0, 0.2, 1)


def test_the_few_that_do_the_harm():
    layers, evaluate = case([0.01] * 5 + [1.0] + [0.01] * 5 + [0.5])
    found = keep_float(layers, evaluate, max_drop=0.2)
    assert found.float_layers == ("l5", "l11")
    assert found.within_limit
    assert found.drop == pytest.approx(0.1)
    assert found.share == pytest.approx(2 / 12)


def test_a_small_layer_goes_before_a_large_one_of_the_same_harm():
    layers, evaluate = case([1.0, 1.0, 0.1], [0.90, 0.05, 0.05])
    assert keep_float(layers, evaluate, max_drop=1.2).float_layers == ("l1",)


def test_layers_that_turn_out_not_to_be_needed_are_quantized_again():
    # Alone the first one does most harm, but with the second one float it does none.
    layers, _ = case([0.9, 0.5, 0.1, 0.1])
    seen = []

    def evaluate(kept):
        seen.append(kept)
        return 0.0 if "l1" in kept else 1.0

    found = keep_float(layers, evaluate, max_drop=0.0)
    assert found.float_layers == ("l1",)
    # The choice without the first one was tried because of that alone.
    assert ("l1",) in seen
    assert len(set(seen)) == len(seen)


def test_what_cannot_be_met_gives_the_best():
    layers, _ = case([0.3, 0.2])
    found = keep_float(layers, lambda kept: 5.0 - len(kept), max_drop=1.0)
    assert not found.within_limit
    assert found.float_layers == ("l0", "l1")
    assert found.drop == 3.0


def test_evaluations_are_limited_and_the_best_so_far_is_the_answer():
    layers, evaluate = case([0.1] * 32)
    told = []
    found = keep_float(layers, evaluate, max_drop=1.0, max_evaluations=5, on_progress=told.append)
    assert len(found.trials) == len(told) == 5
    assert list(found.trials) == told
    # 0, 1, 2, 4 and 8 were tried; the last one loses least of them.
    assert not found.within_limit
    assert len(found.float_layers) == 8
    enough = keep_float(layers, evaluate, max_drop=1.0, max_evaluations=8)
    assert enough.within_limit
    exact = keep_float(layers, evaluate, max_drop=1.01)
    assert len(exact.float_layers) == 22


def test_a_single_layer():
    layers, evaluate = case([0.5])
    assert keep_float(layers, evaluate, max_drop=0.1).float_layers == ("l0",)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=7),
    st.integers(0, 300),
    st.data(),
)
def test_the_search_meets_the_limit_and_no_layer_is_superfluous(noises, limit, data):
    weights = data.draw(st.lists(st.integers(1, 50), min_size=len(noises), max_size=len(noises)))
    shares = [weight / sum(weights) for weight in weights]
    layers, evaluate = case([noise / 100 for noise in noises], shares)
    limit += 1e-6
    found = keep_float(layers, evaluate, max_drop=limit / 100, max_evaluations=200)
    # With every layer float nothing is lost, so it can be met.
    assert found.within_limit
    assert evaluate(found.float_layers) == pytest.approx(found.drop)
    for path in found.float_layers:
        assert evaluate(set(found.float_layers) - {path}) > limit / 100
    best = min(
        len(choice)
        for count in range(len(layers) + 1)
        for choice in itertools.combinations([one.path for one in layers], count)
        if evaluate(choice) <= limit / 100
    )
    if len(set(weights)) == 1:
        assert len(found.float_layers) == best


def test_bad_input():
    layers, evaluate = case([0.5])
    with pytest.raises(QuantizationError, match="no layer"):
        keep_float([], evaluate, max_drop=0.1)
    with pytest.raises(UsageError, match="max_drop is NaN"):
        keep_float(layers, evaluate, max_drop=math.nan)
    with pytest.raises(UsageError, match="evaluation"):
        keep_float(layers, evaluate, max_drop=0.1, max_evaluations=0)
    with pytest.raises(QuantizationError, match="is NaN"):
        keep_float(layers, lambda kept: math.nan, max_drop=0.1)
