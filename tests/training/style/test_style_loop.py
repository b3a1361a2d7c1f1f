"""The training of a stylizer: it learns, it resumes exactly, it stops before harm is done."""

from __future__ import annotations

import math
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import DivergedError, InputNotFoundError, TrainingError, UsageError
from edgesdk.frontend.edgemodel.file import load_model, read_model_file
from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.training.checkpoints import checkpoint_path, read_file
from edgesdk.training.engine import RunOptions
from edgesdk.training.style.add_styles import learn_styles_from, with_more_styles
from edgesdk.training.style.memory import bytes_needed, largest_step
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.stylizer import TrainedStylizer, train_stylizer
from edgesdk.training.style.stylizer_file import save_stylizer

SMALL = {"encoder_widths": [4, 4, 8], "expanded_widths": [16], "decoder_widths": [8, 4]}


class Studio:
    """Trains on the small folders."""

    def __init__(self, content: Path, styles: Path, trunk: Path) -> None:
        self.content, self.styles, self.trunk = content, styles, trunk

    def train(self, recipe: StyleRecipe, **options: object) -> TrainedStylizer:
        config = None if "base" in options else SMALL
        return train_stylizer(
            self.content,
            self.styles,
            recipe,
            config=config,
            perceptual=self.trunk,
            **options,  # type: ignore[arg-type]
        )


@pytest.fixture(scope="session")
def studio(photographs_folder: Path, paintings_folder: Path, trunk: Path) -> Studio:
    return Studio(photographs_folder, paintings_folder, trunk)


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def test_it_learns_every_part(studio: Studio, short: StyleRecipe) -> None:
    history = studio.train(short.changed(steps=70)).history
    assert history.finished and history.steps == 70
    first, last = history.records[0], history.records[-1]
    assert (first.step, last.step) == (50, 70)
    assert last.losses["style"] < 0.8 * first.losses["style"]
    assert last.total < first.total
    assert last.losses["temporal"] > 0


def test_ended_anywhere_it_goes_on_to_the_same_bits(
    studio: Studio, short: StyleRecipe, tmp_path: Path
) -> None:
    whole = studio.train(short)
    for stop_after in (5, 4, None):
        run_options = RunOptions(checkpoint=tmp_path, stop_after_steps=stop_after)
        part = studio.train(short, options=run_options)
    assert part.history.resumed_at == 9 and part.history.finished
    assert bits(part.model) == bits(whole.model)
    assert part.history.records[-1].losses == pytest.approx(whole.history.records[-1].losses)
    # Once more: there is nothing left to do.
    again = studio.train(short, options=RunOptions(checkpoint=tmp_path))
    assert again.history.resumed_at == 12 and bits(again.model) == bits(whole.model)


def test_it_ends_at_the_step_it_is_told_wherever_it_began(
    studio: Studio, short: StyleRecipe, tmp_path: Path
) -> None:
    studio.train(short, options=RunOptions(checkpoint=tmp_path, stop_after_steps=3))
    part = studio.train(short, options=RunOptions(checkpoint=tmp_path, stop_at_step=7))
    assert (part.history.resumed_at, part.history.steps) == (3, 7) and not part.history.finished
    there = studio.train(short, options=RunOptions(checkpoint=tmp_path, stop_at_step=7))
    assert there.history.resumed_at == there.history.steps == 7
    assert bits(there.model) == bits(part.model)
    beyond = studio.train(short, options=RunOptions(checkpoint=tmp_path, stop_at_step=99))
    assert beyond.history.finished and beyond.history.steps == 12


def test_a_checkpoint_of_another_run_is_refused(
    studio: Studio, short: StyleRecipe, tmp_path: Path
) -> None:
    studio.train(short, options=RunOptions(checkpoint=tmp_path, stop_after_steps=2))
    before = checkpoint_path(tmp_path).read_bytes()
    with pytest.raises(TrainingError, match=r"another recipe: style_weight is 4\.0 there and 5"):
        studio.train(short.changed(style_weight=5), options=RunOptions(checkpoint=tmp_path))
    other = Studio(studio.styles, studio.styles, studio.trunk)
    with pytest.raises(TrainingError, match="another data: photographs"):
        other.train(short, options=RunOptions(checkpoint=tmp_path))
    assert checkpoint_path(tmp_path).read_bytes() == before
    checkpoint_path(tmp_path).write_bytes(before[:1000])
    with pytest.raises(TrainingError, match="damaged"):
        studio.train(short, options=RunOptions(checkpoint=tmp_path))
    fresh = studio.train(short, options=RunOptions(checkpoint=tmp_path, resume=False))
    assert fresh.history.finished and fresh.history.resumed_at == 0


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(
    studio: Studio, short: StyleRecipe, tmp_path: Path
) -> None:
    # The first step is sound and leaves weights that overflow.
    wild = short.changed(learning_rate=1e30, warmup_steps=0, schedule="constant")
    run_options = RunOptions(checkpoint=tmp_path, checkpoint_every_seconds=0.0)
    with pytest.raises(DivergedError, match=r"at step \d+; nothing was learnt") as caught:
        studio.train(wild, options=run_options)
    assert "is from before" in str(caught.value.remedy)
    kept = read_file(tmp_path)
    assert kept is not None
    tensors, description = kept
    told = re.search(r"at step (\d+)", caught.value.message)
    assert told is not None
    at = int(told[1])
    assert description["position"]["step"] == at > 0
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_previews_are_written_when_due_and_at_the_end(
    studio: Studio, short: StyleRecipe, tmp_path: Path
) -> None:
    told = []
    run_options = RunOptions(preview_every_steps=8, on_progress=told.append)
    studio.train(short, previews=tmp_path / "sheets", options=run_options)
    assert [path.name for path in sorted((tmp_path / "sheets").iterdir())] == [
        "step-000008.png",
        "step-000012.png",
    ]
    assert [progress.step for progress in told] == list(range(1, 13))
    assert [progress.step for progress in told if progress.preview] == [8, 12]
    assert all(math.isfinite(progress.seconds_left) for progress in told)


def test_one_style_is_enough(studio: Studio, short: StyleRecipe, tmp_path: Path) -> None:
    only = tmp_path / "paintings"
    only.mkdir()
    (only / "one.png").write_bytes((studio.styles / "cold_dots.png").read_bytes())
    trained = Studio(studio.content, only, studio.trunk).train(short)
    assert trained.styles == ("one",) and trained.history.finished


def test_what_was_trained_is_saved_with_its_names(
    studio: Studio, short: StyleRecipe, tmp_path: Path
) -> None:
    trained = studio.train(short)
    path = save_stylizer(trained, tmp_path / "my.edgemodel", size=64)
    found = read_model_file(path)
    assert found.architecture == "multi_style"
    assert found.config is not None
    assert found.config["style_names"] == ["warm-stripes", "cold-dots"]
    assert bits(found.model) == bits(trained.model)
    assert found.signature is not None
    assert [spec.shape for spec in found.signature.inputs] == [(1, 3, 64, 64), (1, 2, 1, 1)]


def test_an_added_style_leaves_the_others_as_they_are(
    studio: Studio, short: StyleRecipe, tmp_path: Path
) -> None:
    trained = studio.train(short)
    base = save_stylizer(trained, tmp_path / "two.edgemodel", size=64)
    more = tmp_path / "more"
    more.mkdir()
    (more / "third.png").write_bytes((studio.styles / "cold_dots.png").read_bytes())
    wider = Studio(studio.content, more, studio.trunk).train(short, base=base)
    assert wider.styles == ("warm-stripes", "cold-dots", "third") and wider.added == 1
    picture = torch.rand(1, 3, 64, 64)
    for style in range(2):
        two = torch.eye(2)[style].view(1, 2, 1, 1)
        three = torch.eye(3)[style].view(1, 3, 1, 1)
        with torch.no_grad():
            assert torch.equal(trained.model(picture, two), wider.model(picture, three))
    mean = load_model(base).state_dict()["encoder.0.norm.scale.weight"].mean(dim=1)
    learnt = wider.model.state_dict()["encoder.0.norm.scale.weight"][:, 2]
    assert not torch.equal(learnt, mean)
    assert all(value.requires_grad for value in wider.model.parameters())


def test_adding_refuses_what_it_cannot_add_to(
    studio: Studio, short: StyleRecipe, tmp_path: Path
) -> None:
    net = models.create("multi_style", styles=2, style_names=["a", "b"], pretrained=False, **SMALL)
    assert isinstance(net, MultiStyleNet)
    with pytest.raises(UsageError, match="the style 'b' already"):
        with_more_styles(net, ["c", "b"])
    with pytest.raises(UsageError, match="Linear has no styles"):
        with_more_styles(nn.Linear(1, 1), ["c"])  # type: ignore[arg-type]
    wider = with_more_styles(net, ["c"])
    learn_styles_from(wider, 2)
    learning = {name for name, value in wider.named_parameters() if value.requires_grad}
    assert learning and all(".norm.s" in name for name in learning)


def test_bad_outputs_are_refused_before_training(
    studio: Studio, short: StyleRecipe, tmp_path: Path
) -> None:
    trained = studio.train(short.changed(steps=3))
    with pytest.raises(UsageError, match=r"cannot write 'my\.onnx'"):
        save_stylizer(trained, tmp_path / "my.onnx")
    save_stylizer(trained, tmp_path / "my.edgemodel", size=64)
    with pytest.raises(UsageError, match="exists"):
        save_stylizer(trained, tmp_path / "my.edgemodel", size=64)


def test_a_step_that_does_not_fit_is_refused_with_one_that_does(
    studio: Studio, short: StyleRecipe
) -> None:
    with pytest.raises(TrainingError, match=r"takes [\d.]+ GB, and [\d.]+ GB are free") as caught:
        studio.train(short.changed(batch_size=4096, crop=128))
    assert "set batch_size=" in str(caught.value.remedy)


def test_what_fits_prefers_fewer_pictures_to_smaller_ones() -> None:
    recipe = StyleRecipe(batch_size=8, crop=256)
    need = bytes_needed(recipe, 8, 256)
    assert largest_step(recipe, 1, need) == "batch_size=8 and crop=256"
    assert largest_step(recipe, 1, need - 1) == "batch_size=4 and crop=256"
    assert largest_step(recipe, 2, need // 8) == "batch_size=2 and crop=256"
    assert largest_step(recipe, 1, need // 32) == "batch_size=1 and crop=128"
    assert largest_step(recipe, 1, 1000) == ""


LIMITED = """
import sys
import torch
from edgesdk.errors import TrainingError
from edgesdk.training.style.memory import explain_out_of_memory
from edgesdk.training.style.recipe import StyleRecipe
recipe = StyleRecipe(batch_size=8, crop=256)
try:
    with explain_out_of_memory(recipe, torch.device("cpu"), 1):
        torch.ones(2**40)
except TrainingError as error:
    print(error.message, error.remedy)
try:
    with explain_out_of_memory(recipe, torch.device("cpu"), 1):
        raise RuntimeError("something else")
except RuntimeError as error:
    print(error)
"""


def test_an_allocation_that_fails_is_named() -> None:
    limit = 64 * 2**30
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED],
        capture_output=True,
        text=True,
        env={**os.environ},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        timeout=120,
        check=True,
    )
    named, other = ended.stdout.splitlines()
    assert named == (
        "a step of 8 pictures of 256 pixels takes more than cpu has set batch_size=4 and crop=256"
    )
    assert other == "something else"


def test_a_missing_perceptual_network_is_told(studio: Studio, short: StyleRecipe) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        train_stylizer(
            studio.content, studio.styles, short, config=SMALL, perceptual=Path("none.npz")
        )
