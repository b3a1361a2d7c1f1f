"""The training of a network of any style: views of paintings, the encoder with the painter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesdk import models
from edgesdk.errors import DataError, UsageError
from edgesdk.frontend.edgemodel.file import read_model_file, save_model
from edgesdk.models.any_style import AnyStyleNet, StyleEncoder
from edgesdk.training.engine import RunOptions
from edgesdk.training.style.any_stylizer import TrainedAnyStylizer, train_any_stylizer, views
from edgesdk.training.style.fine_tuning import widths_of
from edgesdk.training.style.paintings import read_paintings
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.stylizer_file import check_outputs, save_any_stylizer

SMALL = {
    "code": 8,
    "encoder_widths": [4, 4, 8],
    "expanded_widths": [16],
    "decoder_widths": [8, 4],
}


def test_views_are_squares_of_the_painting_the_first_in_its_colours(
    paintings_folder: Path,
) -> None:
    painting = read_paintings(paintings_folder).paintings[0]
    found = views(painting, 6, (64, 96), seed=3, side=64)
    assert found.shape == (6, 64, 64, 3) and found.dtype == np.uint8
    assert np.array_equal(found, views(painting, 6, (64, 96), seed=3, side=64))
    assert not np.array_equal(found, views(painting, 6, (64, 96), seed=4, side=64))
    # Warm stripes: red is strongest in the painting's own colours, not in all exchanged ones.
    strongest = found.mean(axis=(1, 2)).argmax(axis=1)
    assert strongest[0] == 0 and len(set(strongest.tolist())) > 1


def test_statistics_are_means_and_deviations_of_every_level() -> None:
    encoder = StyleEncoder([2, 3, 4, 5]).eval()
    painting = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        found = encoder(painting)
        level = encoder.levels[0](painting - 0.5)
    assert found.shape == (1, encoder.width, 1, 1) == (1, 28, 1, 1)
    torch.testing.assert_close(found[0, :2, 0, 0], level.mean(dim=(2, 3))[0])
    deviation = torch.sqrt(level.var(dim=(2, 3), correction=0)[0] + 1e-5)
    torch.testing.assert_close(found[0, 14:16, 0, 0], deviation)


def test_every_style_begins_as_the_plain_normalisation() -> None:
    painter = AnyStyleNet(statistics=28, **SMALL).eval()
    with torch.no_grad():
        code = painter.mix(torch.zeros(1, 28, 1, 1))
    torch.testing.assert_close(code.sum(), torch.tensor(1.0), rtol=0.02, atol=0)


@pytest.fixture
def train(
    photographs_folder: Path, paintings_folder: Path, trunk: Path
) -> Callable[..., TrainedAnyStylizer]:
    """Trains on the small folders."""

    def trained(recipe: StyleRecipe, **options: Any) -> TrainedAnyStylizer:
        options = {"config": SMALL, "perceptual": trunk, "views_a_painting": 2, **options}
        return train_any_stylizer(photographs_folder, paintings_folder, recipe, **options)

    return trained


def test_it_learns_saves_both_networks_and_resumes(
    train: Callable[..., TrainedAnyStylizer], short: StyleRecipe, tmp_path: Path
) -> None:
    recipe = short.changed(steps=6)
    whole = train(recipe)
    train(recipe, options=RunOptions(checkpoint=tmp_path / "run", stop_after_steps=4))
    resumed = train(recipe, options=RunOptions(checkpoint=tmp_path / "run"))
    assert resumed.history.resumed_at == 4
    path, beside = save_any_stylizer(resumed, tmp_path / "any.edgemodel", size=64)
    assert beside.name == "any-encoder.edgemodel"
    painter, encoder = read_model_file(path).model, read_model_file(beside).model
    picture, painting = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        painted = painter(picture, encoder(painting))
        same = whole.painter(picture, whole.encoder(painting))
    assert torch.equal(painted, same)
    # A training that hardly learns, from what was learnt.
    after = train(recipe.changed(learning_rate=1e-12), start=path)
    with torch.no_grad():
        goes_on = after.painter(picture, after.encoder(painting))
    torch.testing.assert_close(goes_on, same, atol=1e-4, rtol=0)


def test_it_has_the_widths_of_what_it_starts_from(
    train: Callable[..., TrainedAnyStylizer], short: StyleRecipe, tmp_path: Path
) -> None:
    widths = {key: value for key, value in SMALL.items() if key != "code"}
    widths["refined_widths"] = [8, 4]
    many = models.create("multi_style", styles=2, pretrained=False, **widths)
    path = save_model(many, "multi_style", tmp_path / "many.edgemodel")
    recipe = short.changed(steps=1, warmup_steps=0)
    found = train(recipe, start=path, config={"code": 8}).painter.config
    assert {key: found[key] for key in widths} == widths
    with pytest.raises(UsageError, match=r"refined_widths are \[8, 4\] there and \[0, 0\] here"):
        train(recipe, start=path, config={"code": 8, "refined_widths": [0, 0]})
    other = models.create("unet")
    there = save_model(other, "unet", tmp_path / "other.edgemodel")
    with pytest.raises(DataError, match=r"other\.edgemodel is not a multi-style network"):
        widths_of(there)


def test_both_outputs_must_be_free(tmp_path: Path) -> None:
    (tmp_path / "any-encoder.edgemodel").mkdir()
    check_outputs(tmp_path / "any.edgemodel", any_style=False, overwrite=False)
    with pytest.raises(UsageError, match=r"any-encoder\.edgemodel exists"):
        check_outputs(tmp_path / "any.edgemodel", any_style=True, overwrite=False)
    check_outputs(tmp_path / "any.edgemodel", any_style=True, overwrite=True)
