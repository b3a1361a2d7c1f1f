"""Recipes: named ones, files, overrides, and refused values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.training import Augmentation, Recipe, load_recipe, recipe, recipe_names
from edgesdk.training.recipes import overridden

MINIMAL = {"epochs": 2, "batch_size": 4, "optimizer": "sgd", "learning_rate": 0.1}


def test_the_recipe_of_the_ucp_paper():
    paper = recipe("cifar_sgd")
    assert (paper.optimizer, paper.learning_rate, paper.momentum) == ("sgd", 0.1, 0.9)
    assert (paper.weight_decay, paper.batch_size, paper.epochs) == (1e-4, 64, 160)
    assert (paper.schedule, paper.milestones, paper.gamma) == ("step", (0.5, 0.75), 0.1)
    assert paper.augmentation == Augmentation(flip=0.5, crop=4)


@pytest.mark.parametrize("name", recipe_names())
def test_named_recipes_survive_json(name):
    found = recipe(name)
    assert Recipe.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_names_are_those_promised():
    assert set(recipe_names()) >= {
        "cifar_sgd",
        "cifar_cosine",
        "imagenet_sgd",
        "quick_sgd",
        "finetune_adamw",
    }


def test_unknown_names_and_keys_are_told_the_nearest():
    with pytest.raises(UnknownNameError, match="cifar_sgd"):
        recipe("cifer_sgd")
    with pytest.raises(UnknownNameError, match="did you mean 'learning_rate'"):
        Recipe(**MINIMAL, learnin_rate=0.1)
    with pytest.raises(UnknownNameError, match="did you mean"):
        Recipe(**MINIMAL, augmentation={"flipp": 0.5})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 1}, "batch_size"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"milestones": [0.7, 0.5]}, "milestones"),
        ({"milestones": [80, 120]}, "milestones"),
        ({"warmup_epochs": 2}, "warmup_epochs"),
        ({"optimizer": "adam", "nesterov": True}, "nesterov"),
        ({"ema_decay": 1}, "ema_decay"),
        ({"augmentation": {"flip": 1.5}}, "augmentation.flip|flip"),
        ({"augmentation": "strong"}, "augmentation"),
        ({"precision": "int8"}, "precision"),
    ],
)
def test_values_out_of_range_are_refused_by_name(change, message):
    with pytest.raises(UsageError, match=message):
        Recipe(**{**MINIMAL, **change})


def test_a_missing_key_is_named():
    with pytest.raises(UsageError, match="epochs"):
        Recipe.from_dict({"batch_size": 4})


def test_flip_true_is_one_half():
    assert Augmentation(flip=True).flip == 0.5
    assert Augmentation(flip=False).flip == 0.0


def test_recipes_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        recipe("quick_sgd").epochs = 3


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_files_of_both_forms(tmp_path, suffix):
    file = tmp_path / f"mine{suffix}"
    text = {
        ".json": json.dumps({**MINIMAL, "augmentation": {"crop": 2}}),
        ".yaml": "epochs: 2\nbatch_size: 4\noptimizer: sgd\nlearning_rate: 0.1\n"
        "augmentation: {crop: 2}\n",
    }[suffix]
    file.write_text(text)
    assert load_recipe(str(file)) == Recipe(**MINIMAL, augmentation={"crop": 2})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "{"),
        ("a.json", "[1]"),
        ("a.json", "[" * 100_000),
        ("a.yaml", "a: [1"),
        ("a.yaml", "- 1"),
        ("a.yaml", "!!python/object/apply:os.system ['echo hacked']"),
        ("a.yaml", "x" * 70_000),
    ],
)
def test_files_that_are_no_recipe(tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(UsageError):
        load_recipe(str(file))


def test_a_missing_file_is_no_name():
    with pytest.raises(UsageError, match=r"no such file: absent\.json"):
        load_recipe("absent.json")


def test_a_fault_in_a_file_names_the_file(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps({**MINIMAL, "epochs": -1}))
    with pytest.raises(UsageError, match=r"a\.json"):
        load_recipe(str(file))


def test_overrides():
    base = recipe("cifar_sgd")
    changed = overridden(
        base,
        ["learning_rate=0.05", "augmentation.crop=2", "milestones=0.3,0.6", "optimizer=adam"],
    )
    assert changed.learning_rate == 0.05
    assert changed.augmentation == Augmentation(flip=0.5, crop=2)
    assert changed.milestones == (0.3, 0.6)
    assert changed.optimizer == "adam"
    assert changed.epochs == base.epochs


@pytest.mark.parametrize(
    "setting", ["learning_rate", "=1", "lerning_rate=1", "recipe.crop=1", "epochs=many"]
)
def test_overrides_that_cannot_be_read(setting):
    with pytest.raises(UsageError):
        overridden(recipe("quick_sgd"), [setting])


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_override_is_a_recipe_or_an_error_in_words(key, value):
    try:
        changed = overridden(recipe("quick_sgd"), [f"{key}={value}"])
    except UsageError:
        return
    assert isinstance(changed, Recipe)
