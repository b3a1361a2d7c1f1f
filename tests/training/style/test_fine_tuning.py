"""A training that goes on with the weights of a trained stylizer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import DataError, SourceNotFoundError, TrainingError, UsageError
from edgesdk.frontend.edgemodel.file import load_model, save_model
from edgesdk.models.any_style import AnyStyleNet, StyleEncoder
from edgesdk.models.multi_style import MultiStyleNet, StyleNorm
from edgesdk.training.checkpoints import read_file
from edgesdk.training.engine import RunOptions
from edgesdk.training.style import train as studio
from edgesdk.training.style.fine_tuning import (
    any_style_taken_over,
    body_taken_over,
    encoder_path,
    started_from,
    weights_digest,
)
from edgesdk.training.style.paintings import read_paintings
from edgesdk.training.style.perceptual import load_perceptual
from edgesdk.training.style.photographs import Photographs
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.stylizer import TrainedStylizer, train_stylizer
from edgesdk.training.style.stylizer_file import save_stylizer

SMALL = {
    "encoder_widths": [4, 4, 8],
    "expanded_widths": [16],
    "decoder_widths": [8, 4],
    "refined_widths": [0, 0],
}
NAMES = ["warm-stripes", "cold-dots"]


def small(**options: Any) -> MultiStyleNet:
    options = {"styles": 2, "style_names": NAMES, "pretrained": False, **SMALL, **options}
    net = models.create("multi_style", **options)
    assert isinstance(net, MultiStyleNet)
    return net


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


class Trainer:
    """Trains on the small folders."""

    def __init__(self, content: Path, styles: Path, trunk: Path) -> None:
        self.content, self.styles, self.trunk = content, styles, trunk

    def __call__(self, recipe: StyleRecipe, **options: Any) -> TrainedStylizer:
        options = {"config": SMALL, "perceptual": self.trunk, **options}
        return train_stylizer(self.content, self.styles, recipe, **options)

    def identity(self, checkpoint: Path) -> dict[str, Any]:
        """What a checkpoint says the run is."""
        found = read_file(checkpoint)
        assert found is not None
        identity = found[1]["data"]
        assert isinstance(identity, dict)
        return identity


@pytest.fixture(scope="module")
def train(photographs_folder: Path, paintings_folder: Path, trunk: Path) -> Trainer:
    return Trainer(photographs_folder, paintings_folder, trunk)


@pytest.fixture
def trained(train: Trainer, short: StyleRecipe, tmp_path: Path) -> tuple[TrainedStylizer, Path]:
    """A trained stylizer, and its file."""
    found = train(short.changed(steps=4, temporal_weight=0))
    return found, save_stylizer(found, tmp_path / "two.edgemodel", size=64)


def test_all_weights_learn_further(
    train: Trainer,
    short: StyleRecipe,
    trained: tuple[TrainedStylizer, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bits(started_from(trained[1], small())) == bits(trained[0].model)
    # Weights that no training of three steps comes to from fresh ones.
    far = small()
    torch.manual_seed(1)
    with torch.no_grad():
        for value in far.parameters():
            value.add_(torch.randn_like(value), alpha=0.1)
    path = save_model(far, "multi_style", tmp_path / "far.edgemodel")
    # What learning moves, without what is scaled after it.
    monkeypatch.setattr(studio, "equalize_channels", lambda *args: None)
    after = train(short.changed(steps=3), start=path)
    assert after.styles == ("warm-stripes", "cold-dots") and after.added == 2
    old, new = far.state_dict(), after.model.state_dict()
    moved = {name: float((new[name] - old[name]).abs().max()) for name in old}
    assert min(moved.values()) > 0 and max(moved.values()) < 4 * short.learning_rate
    assert all(value.requires_grad for value in after.model.parameters())


def test_blocks_that_are_new_begin_by_adding_nothing(
    train: Trainer, short: StyleRecipe, trained: tuple[TrainedStylizer, Path], tmp_path: Path
) -> None:
    before, path = trained
    refined = small(refined_widths=[8, 0])
    assert before.model.config["refined_widths"] == [0, 0]
    wider = started_from(path, refined)
    assert wider.config == refined.config
    picture, style = torch.rand(1, 3, 32, 32), torch.tensor([[0.3, 0.7]])[..., None, None]
    with torch.no_grad():
        assert torch.equal(wider.eval()(picture, style), before.model(picture, style))
    after = train(short.changed(steps=3), start=path, config={**SMALL, "refined_widths": [8, 0]})
    block = after.model.decoder[0].block
    # It learns nevertheless.
    assert block is not None and block.norm.scale.weight.detach().abs().min() > 0
    # Nor need it stay as wide as it began.
    there = save_model(after.model, "multi_style", tmp_path / "wider.edgemodel")
    widest = started_from(there, small(refined_widths=[12, 4])).eval()
    assert widest.config["refined_widths"] == [12, 4]
    with torch.no_grad():
        torch.testing.assert_close(
            widest(picture, style), after.model(picture, style), rtol=0, atol=1e-6
        )
    project = widest.decoder[0].block.project.weight
    assert project[:, :8].any() and not project[:, 8:].any()
    assert widest.decoder[0].block.expand.weight[8:].any()
    # Blocks are not dropped, nor made narrower.
    for widths in ([0, 0], [4, 0], [0, 8]):
        with pytest.raises(UsageError, match="refined_widths are"):
            started_from(there, small(refined_widths=widths))


def test_it_goes_on_to_the_same_bits_and_knows_its_start(
    train: Trainer, short: StyleRecipe, trained: tuple[TrainedStylizer, Path], tmp_path: Path
) -> None:
    before, path = trained
    recipe, run = short.changed(steps=4), tmp_path / "run"
    whole = train(recipe, start=path)
    part = train(recipe, start=path, options=RunOptions(checkpoint=run, stop_after_steps=2))
    assert not part.history.finished
    identity = train.identity(run)
    assert identity["start"] == weights_digest(before.model)
    with pytest.raises(TrainingError, match=r"data: start is '[0-9a-f]{64}' there and None"):
        train(recipe, options=RunOptions(checkpoint=run))
    other = save_model(small(), "multi_style", tmp_path / "other.edgemodel")
    with pytest.raises(TrainingError, match="another data: start is"):
        train(recipe, start=other, options=RunOptions(checkpoint=run))
    assert train.identity(run) == identity
    resumed = train(recipe, start=path, options=RunOptions(checkpoint=run))
    assert resumed.history.resumed_at == 2 and bits(resumed.model) == bits(whole.model)


def test_without_a_start_the_run_is_what_it_was(
    train: Trainer, short: StyleRecipe, tmp_path: Path
) -> None:
    trained = train(short, options=RunOptions(checkpoint=tmp_path, stop_after_steps=1))
    identity = train.identity(tmp_path)
    assert list(identity) == ["network", "photographs", "paintings", "perceptual"]
    assert identity == {
        "network": trained.model.config,
        "photographs": Photographs(train.content, short.crop).identity(),
        "paintings": read_paintings(train.styles).identity(),
        "perceptual": load_perceptual(train.trunk).identity(),
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"styles": 3, "style_names": ["a", "b", "c"]}, "has 3 styles and there are 2 paintings"),
        ({"style_names": None}, "its styles have no names"),
        (
            {"style_names": ["warm-stripes", "hot-dots"]},
            "its style 1 is 'hot-dots' and the painting is 'cold-dots'",
        ),
        (
            {"style_names": ["cold-dots", "warm-stripes"]},
            "its style 0 is 'cold-dots' and the painting is 'warm-stripes', and 1 more differ",
        ),
        (
            {"encoder_widths": [4, 8, 8]},
            r"encoder_widths are \[4, 8, 8\] there and \[4, 4, 8\] here",
        ),
        (
            {"expanded_widths": [16, 16], "style_names": ["a", "cold-dots"]},
            r"'a' and .*; expanded_widths are \[16, 16\] there and \[16\] here",
        ),
    ],
)
def test_other_styles_and_widths_are_refused(
    options: dict[str, Any], told: str, train: Trainer, short: StyleRecipe, tmp_path: Path
) -> None:
    path = save_model(small(**options), "multi_style", tmp_path / "other.edgemodel")
    run_options = RunOptions(checkpoint=tmp_path / "run")
    with pytest.raises(UsageError, match=f"cannot start from other.edgemodel: .*{told}") as caught:
        train(short, start=path, options=run_options)
    assert caught.value.remedy and not (tmp_path / "run").exists()


def test_what_is_no_trained_stylizer(train: Trainer, short: StyleRecipe, tmp_path: Path) -> None:
    path = save_model(
        nn.Conv2d(3, 3, 1), None, tmp_path / "c.edgemodel", example=torch.ones(1, 3, 8, 8)
    )
    with pytest.raises(DataError, match=r"c\.edgemodel is not a multi-style network"):
        train(short, start=path)
    with pytest.raises(SourceNotFoundError, match=r"absent\.edgemodel"):
        train(short, start=tmp_path / "absent.edgemodel")
    with pytest.raises(UsageError, match="both add styles to a network and start from one"):
        train(short, start=path, base=path)


def test_digests_of_weights(trained: tuple[TrainedStylizer, Path], tmp_path: Path) -> None:
    before, path = trained
    copy = Path(shutil.copytree(path, tmp_path / "copy.edgemodel"))
    assert weights_digest(before.model) == weights_digest(load_model(copy))
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    two.load_state_dict(one.state_dict())
    assert weights_digest(one) == weights_digest(two)
    with torch.no_grad():
        two.bias[1] += 1e-6
    assert weights_digest(one) != weights_digest(two)


def test_any_style_takes_over_what_many_styles_have_learnt(tmp_path: Path) -> None:
    torch.manual_seed(3)
    many = small()
    for module in many.modules():
        if isinstance(module, StyleNorm):
            torch.nn.init.normal_(module.scale.weight)
            torch.nn.init.normal_(module.shift.weight)
    path = save_model(many, "multi_style", tmp_path / "many.edgemodel")
    painter = models.create("any_style", pretrained=False, code=5, **SMALL)
    assert isinstance(painter, AnyStyleNet)
    body_taken_over(path, painter, seed=1)
    picture = torch.rand(1, 3, 32, 32)
    for style in range(2):
        code = torch.zeros(1, 5, 1, 1)
        code[0, style] = 1
        with torch.no_grad():
            assert torch.equal(painter.painter(picture, code), many(picture, code[:, :2])), (
                "a code is a style as it was"
            )
    # The codes beyond are combinations of the styles whose shares sum to 1.
    mine, its = painter.painter.state_dict(), many.state_dict()
    key = "blocks.0.norm.scale.weight"
    styles, beyond = its[key][:, :, 0, 0].double(), mine[key][:, 2:, 0, 0].double()
    shares = torch.linalg.lstsq(styles, beyond).solution
    torch.testing.assert_close(styles @ shares, beyond, atol=1e-5, rtol=0)
    torch.testing.assert_close(shares.sum(dim=0), torch.ones(3).double(), atol=1e-4, rtol=0)
    again = models.create("any_style", pretrained=False, code=5, **SMALL)
    assert isinstance(again, AnyStyleNet)
    body_taken_over(path, again, seed=1)
    assert bits(again) == bits(painter)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"code": 1, **SMALL}, "it has 2 styles and there are 1 codes"),
        ({"code": 5, **SMALL, "decoder_widths": [8, 8]}, "decoder_widths are"),
    ],
)
def test_any_style_of_other_widths_takes_nothing_over(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    path = save_model(small(), "multi_style", tmp_path / "many.edgemodel")
    painter = models.create("any_style", pretrained=False, **options)
    assert isinstance(painter, AnyStyleNet)
    before = bits(painter)
    with pytest.raises(UsageError, match=told):
        body_taken_over(path, painter, seed=1)
    assert bits(painter) == before


def pair(seed: int, **options: Any) -> tuple[StyleEncoder, AnyStyleNet]:
    encoder = models.create("style_encoder", pretrained=False)
    painter = models.create("any_style", pretrained=False, **{"code": 5, **SMALL, **options})
    assert isinstance(encoder, StyleEncoder) and isinstance(painter, AnyStyleNet)
    # A fresh network of the zoo always is the same.
    torch.manual_seed(seed)
    with torch.no_grad():
        for value in (*encoder.parameters(), *painter.parameters()):
            value += 0.01 * torch.randn_like(value)
    return encoder, painter


def test_any_style_goes_on_from_any_style(tmp_path: Path) -> None:
    encoder, painter = pair(1)
    path = save_model(painter, "any_style", tmp_path / "any.edgemodel")
    save_model(encoder, "style_encoder", encoder_path(path))
    taken = pair(2)
    assert bits(taken[0]) != bits(encoder) and bits(taken[1]) != bits(painter)
    any_style_taken_over(path, *taken, seed=1)
    assert bits(taken[0]) == bits(encoder) and bits(taken[1]) == bits(painter)


def test_any_style_begins_from_many_styles(tmp_path: Path) -> None:
    path = save_model(small(), "multi_style", tmp_path / "many.edgemodel")
    encoder, painter = pair(1)
    before = bits(encoder)
    _, other = pair(1)
    any_style_taken_over(path, encoder, painter, seed=4)
    body_taken_over(path, other, seed=4)
    assert bits(painter) == bits(other) and bits(encoder) == before


def test_a_pair_that_is_none_is_refused(tmp_path: Path) -> None:
    encoder, painter = pair(1)
    path = save_model(painter, "any_style", tmp_path / "any.edgemodel")
    fresh = pair(2)
    before = [bits(one) for one in fresh]
    with pytest.raises(SourceNotFoundError, match=r"any-encoder\.edgemodel"):
        any_style_taken_over(path, *fresh, seed=1)
    beside = save_model(painter, "any_style", encoder_path(path))
    with pytest.raises(DataError, match="is not an encoder of paintings"):
        any_style_taken_over(path, *fresh, seed=1)
    shutil.rmtree(beside)
    save_model(encoder, "style_encoder", beside)
    with pytest.raises(UsageError, match="code are 5 there and 6 here"):
        any_style_taken_over(path, *pair(2, code=6), seed=1)
    with pytest.raises(DataError, match="not a multi-style network"):
        any_style_taken_over(beside, *fresh, seed=1)
    assert [bits(one) for one in fresh] == before
