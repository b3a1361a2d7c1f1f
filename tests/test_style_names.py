"""What may be the name of a style, and which names a model has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgesdk.errors import UsageError
from edgesdk.style_names import MAX_STYLES, check_style_names, model_style_names
from edgesdk.video.option_texts import parse_blend


def test_names_of_every_language_pass() -> None:
    names = ["Sternennacht", "大きな波", "the scream, no".replace(",", ""), "a" * 64, "1"]
    assert check_style_names(names, count=5) == names
    assert check_style_names(("one",)) == ["one"]
    assert check_style_names([]) == []


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("night", "a str is not a list"),
        ({"night": 1}, "a dict is not a list"),
        (["night", ""], "'' is not a style name"),
        (["a:b"], "'a:b' is not a style name"),
        (["a,b"], "'a,b' is not a style name"),
        ([" night"], "is not a style name"),
        (["night\n"], "is not a style name"),
        (["ni\x1b[31mght"], "is not a style name"),
        (["ni\u202eght"], "is not a style name"),
        (["n" * 65], "is not a style name"),
        ([7], "7 is not a style name"),
        ([None], "None is not a style name"),
        (["night", "day", "night"], "two styles have the name 'night'"),
        ([str(number) for number in range(MAX_STYLES + 1)], "4097 style names"),
    ],
)
def test_what_is_no_name_is_refused(names: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        check_style_names(names)
    assert caught.value.remedy and len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)


def test_there_is_a_name_for_every_style() -> None:
    with pytest.raises(UsageError, match="2 names for 3 styles"):
        check_style_names(["a", "b"], count=3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=6), min_size=1, max_size=4))
def test_a_blend_can_write_every_name_that_passes(names: list[str]) -> None:
    try:
        check_style_names(names)
    except UsageError:
        return
    text = ", ".join(f"{name}:{place + 1}" for place, name in enumerate(names))
    assert parse_blend(text) == {name: place + 1 for place, name in enumerate(names)}


def test_names_are_an_attribute_of_the_model() -> None:
    model = nn.Identity()
    assert model_style_names(model) == ()
    model.style_names = None
    assert model_style_names(model) == ()
    model.style_names = ["night", "day"]
    assert model_style_names(model) == ("night", "day")
    model.style_names = {"night": 0}
    with pytest.raises(UsageError, match="style_names of Identity: a dict is not a list"):
        model_style_names(model)
