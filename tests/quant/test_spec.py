"""The words of a quantization: recipes by name, what targets can do, what is refused."""

from __future__ import annotations

import pytest

from edgesdk.converters.registry import TARGETS
from edgesdk.errors import UnknownNameError, UnsupportedRecipeError, UsageError
from edgesdk.quant.recipes import RECIPES, parse_recipe, parse_recipes
from edgesdk.quant.spec import ActivationQuant, QuantSpec, WeightQuant
from edgesdk.quant.support import refusal, require_support, supported_recipes


def test_names_decode():
    """What a name says is what the recipe does."""
    for name, spec in RECIPES.items():
        assert spec.name == name
        if name.startswith("w"):
            assert spec.weights is not None
            assert spec.weights.bits == int(name[1])
        if name.startswith("palette"):
            assert spec.weights == WeightQuant(int(name[7:]), "palette", "tensor")
        assert spec.static == (name.endswith("_static") or name == "w4a8")
        assert spec.dynamic == name.endswith("_dynamic")
        assert spec.weight_only == ("only" in name or name.startswith("palette"))
        if "block" in name:
            assert spec.weights is not None
            assert spec.weights.block == int(name.rpartition("block")[2])
    assert RECIPES["fp16"].precision == "fp16"
    assert RECIPES["w8a16_static"].activations == ActivationQuant(16)


def test_the_largest_integer_is_symmetric():
    assert WeightQuant(8).largest == 127
    assert WeightQuant(4).largest == 7
    assert WeightQuant(2).largest == 1


def test_a_typo_is_answered_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="w8a8_static"):
        parse_recipe("w8a8_statc")


def test_several_recipes_by_commas():
    specs = parse_recipes(["fp32, w8_only", "fp16"])
    assert [spec and spec.name for spec in specs] == [None, "w8_only", "fp16"]
    with pytest.raises(UsageError, match="twice"):
        parse_recipes(["w8_only,w8_only"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: WeightQuant(0),
        lambda: WeightQuant(9),
        lambda: WeightQuant(1),
        lambda: WeightQuant(4, granularity="block"),
        lambda: WeightQuant(4, block=32),
        lambda: ActivationQuant(4),
        lambda: QuantSpec("w8_only", WeightQuant(8), io_dtype="int8"),
    ],
)
def test_contradictions_are_refused(make):
    with pytest.raises(UsageError):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: WeightQuant(4, "log"),
        lambda: WeightQuant(4, granularity="row"),
        lambda: ActivationQuant(8, "sometimes"),
        lambda: QuantSpec("x", ranges="minmax"),
        lambda: QuantSpec("x", io_dtype="uint8"),
    ],
)
def test_unknown_words_are_refused(make):
    with pytest.raises(UnknownNameError):
        make()


def test_a_path_stands_for_everything_below_it():
    spec = QuantSpec("x", float_layers=("blocks.1", "head"))
    assert spec.keeps_float("blocks.1")
    assert spec.keeps_float("blocks.1.conv")
    assert not spec.keeps_float("blocks.10.conv")
    assert not spec.keeps_float("stem")


def test_a_refusal_says_why_and_what_there_is():
    """Every recipe is supported or refused with a reason, on every target and variant."""
    for target in TARGETS.values():
        for variant in target.variants:
            name = target.qualified(variant)
            for recipe, spec in RECIPES.items():
                if recipe in supported_recipes(name):
                    assert refusal(name, spec) == ""
                    require_support(name, spec)
                    continue
                with pytest.raises(UnsupportedRecipeError) as caught:
                    require_support(name, spec)
                assert recipe in caught.value.message
                for known in supported_recipes(name):
                    assert known in (caught.value.remedy or "")
    assert "XNNPACK" in refusal("executorch:portable", RECIPES["w8a8_static"])


@pytest.mark.parametrize(
    ("name", "meant"), [("int8", "w8a8_static"), ("INT4", "w4_only_block32"), ("half", "fp16")]
)
def test_names_of_other_tools_lead_to_ours(name: str, meant: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_recipe(name)
    assert caught.value.remedy == f"did you mean {meant!r}?"
