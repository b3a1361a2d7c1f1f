"""The input that takes the shares of styles, and what a choice becomes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.spec import DynamicDim, TensorSpec
from edgesdk.video.styles import StyleInput, find_style_input, style_vector

NAMES = ("night", "day", "wave")


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({}, [1, 0, 0]),
        ({"style": "wave"}, [0, 0, 1]),
        ({"style": 1}, [0, 1, 0]),
        ({"style": "2"}, [0, 0, 1]),
        ({"blend": {"night": 0.25, "day": 0.75}}, [0.25, 0.75, 0]),
        ({"blend": {"night": 1, "2": 3}}, [0.25, 0, 0.75]),
        ({"blend": {"night": 1, "0": 1, "day": 2}}, [0.5, 0.5, 0]),
        ({"weights": [1, 1, 2]}, [0.25, 0.25, 0.5]),
        ({"weights": np.full((1, 3, 1, 1), 4.0)}, [1 / 3] * 3),
    ],
)
def test_a_choice_becomes_shares(choice: dict[str, Any], wanted: list[float]) -> None:
    shares = style_vector(3, **choice, names=NAMES)
    assert shares.dtype == np.float32
    assert np.allclose(shares, wanted, atol=1e-7)


def test_a_name_goes_before_a_number() -> None:
    names = ("1", "0")
    assert style_vector(2, "1", names=names).tolist() == [1, 0]
    assert style_vector(2, 1, names=names).tolist() == [0, 1]


def test_unknown_styles_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'night'"):
        style_vector(3, "nihgt", names=NAMES)
    with pytest.raises(UnknownNameError, match="one of: day, night, wave"):
        style_vector(3, blend={"mosaic": 1}, names=NAMES)
    with pytest.raises(UnknownNameError, match="its number, 0 to 2"):
        style_vector(3, "night")
    for style in (3, -1, "01", "", True):
        with pytest.raises(UnknownNameError):
            style_vector(3, style, names=NAMES)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"style": 1, "blend": {"night": 1}}, "not both"),
        ({"style": 0, "weights": [1, 0, 0]}, "not both"),
        ({"blend": {"night": 1}, "weights": [1, 0, 0]}, "not both"),
        ({"blend": {"night": 0.0}}, "all be zero"),
        ({"blend": {"night": -1.0}}, "style night must not be negative"),
        ({"blend": {"night": math.nan}}, "must not be negative"),
        ({"blend": {"night": math.inf}}, "must not be negative"),
        ({"blend": {"night": 1e308, "day": 1e308}}, "too large"),
        ({"weights": [0, 0, 0]}, "all be zero"),
        ({"weights": [1, 2]}, "2 weights of 3 styles"),
        ({"weights": []}, "0 weights of 3 styles"),
        ({"weights": [1, -1, 1]}, "style 1 must not be negative"),
        ({"weights": ["much", 0, 0]}, "must be numbers"),
        ({"weights": [[1, 2], [3]]}, "must be numbers"),
    ],
)
def test_choices_that_make_no_sense(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        style_vector(3, **choice, names=NAMES)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_shares_sum_to_one_and_keep_their_ratios(weights: list[float]) -> None:
    if sum(weights) < 1e-3:
        weights[0] = 1.0
    shares = style_vector(len(weights), weights=weights)
    assert shares.sum() == pytest.approx(1, abs=1e-5) and (shares >= 0).all()
    assert np.allclose(shares * sum(weights), weights, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1), (1, 3, 1, 1), (1, 1, 1, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_vector_of_any_axes_takes_styles(shape: tuple[int, ...], dtype: str) -> None:
    spec = TensorSpec("style", shape, dtype)
    found = find_style_input([TensorSpec("x", (1, 3, 8, 8)), spec], NAMES)
    assert found == StyleInput("style", shape, dtype, NAMES) and found.count == 3
    array = found.array(style_vector(3, "day", names=NAMES))
    assert array.shape == shape and array.dtype == dtype and array.ravel().tolist() == [0, 1, 0]
    assert find_style_input([spec]) == StyleInput("style", shape, dtype)


def test_a_free_batch_is_one() -> None:
    free = {0: DynamicDim("batch", 1, 8)}
    found = find_style_input([TensorSpec("style", (2, 3, 1, 1), dynamic=free)], NAMES)
    assert found is not None and found.shape == (1, 3, 1, 1)
    large = {0: DynamicDim("batch", 2, 8)}
    assert find_style_input([TensorSpec("style", (2, 3, 1, 1), dynamic=large)]) is None


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("x", (1, 3, 8, 8)),
        TensorSpec("x", (2, 3)),
        TensorSpec("x", ()),
        TensorSpec("x", (1,)),
        TensorSpec("x", (0,)),
        TensorSpec("x", (4097,)),
        TensorSpec("x", (3,), "int64"),
    ],
)
def test_other_inputs_take_none(spec: TensorSpec) -> None:
    assert find_style_input([spec]) is None
    with pytest.raises(UsageError, match=r"night, day, wave\), and no input takes 3 shares: x:"):
        find_style_input([spec], NAMES)


def test_names_tell_which_of_several_vectors_it_is() -> None:
    inputs = [TensorSpec("strength", (1,)), TensorSpec("tone", (2,)), TensorSpec("style", (1, 3))]
    assert find_style_input(inputs) is None
    found = [find_style_input(inputs, NAMES[:count]) for count in (1, 2, 3)]
    assert [one and one.name for one in found] == ["strength", "tone", "style"]
    with pytest.raises(UsageError, match="not a style name"):
        find_style_input(inputs, ["a:b"])


def test_the_user_is_told_what_was_made_of_a_choice() -> None:
    named = StyleInput("style", (1, 3), "float32", NAMES)
    assert named.remarks(None, None) == (
        "no style was chosen: painted in night, the first of night, day, wave",
    )
    assert named.remarks("day", None) == named.remarks(0, None) == ()
    unnamed = StyleInput("style", (1, 3), "float32")
    message = "no style was chosen: painted in style 0 of 3 (0 to 2)"
    assert unnamed.remarks(None, None) == (message,)
    assert StyleInput("style", (1,), "float32", ("night",)).remarks(None, None) == ()
    many = StyleInput("style", (30,), "float32", tuple(f"s{i}" for i in range(30)))
    assert many.remarks(None, None)[0].endswith("s22, s23 and 6 more")
    for kept in ({"a": 1.0}, {"a": 0.3, "b": 0.7}, {"a": 0.33, "b": 0.66}, {"a": 1.01}):
        assert named.remarks(None, kept) == ()
    for scaled, total in (({"a": 0.5}, "0.5"), ({"a": 1.0, "b": 0.02}, "1.02"), ({"a": 7}, "7")):
        assert named.remarks(None, scaled) == (
            f"the weights of the blend add up to {total} and were scaled to 1",
        )
