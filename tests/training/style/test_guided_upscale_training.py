"""Training of meta-smoothing: pairs, loss, exact resume."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save

from edgesdk.errors import DivergedError, ModelOutputError, TrainingError, UsageError
from edgesdk.models.guided_upscale import GuidedUpscale
from edgesdk.training.schedules import rate_at
from edgesdk.training.style.guided_upscale import fit_guided_upscale
from edgesdk.training.style.guided_upscale_pairs import (
    GuidedUpscaleBatches,
    matting_smoothed,
    painted_pair,
)
from edgesdk.training.style.guided_upscale_recipe import GuidedUpscaleRecipe
from edgesdk.training.style.losses import guided_upscale_loss
from edgesdk.training.style.photographs import Photographs
from edgesdk.video.downscale import shrunk_picture

Picture = NDArray[np.uint8]

RECIPE = GuidedUpscaleRecipe(
    steps=6, batch_size=2, pairs=2, steps_per_pair=2, crop=64, patch=32, warmup_steps=1, seed=3
)


def negative(picture: Picture) -> Picture:
    return 255 - picture


def hatched(picture: Picture) -> Picture:
    """Strokes of a size in pixels: another painting at another size."""
    strokes = np.indices(picture.shape[:2]).sum(0) % 4 < 2
    return np.where(strokes[..., None], picture, 255 - picture).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photographs"
    made.mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        small = random.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96, 72), Image.Resampling.BICUBIC).save(
            made / f"{number}.png"
        )
    return made


@pytest.fixture
def photographs(folder: Path) -> Photographs:
    return Photographs(folder, RECIPE.crop)


def network() -> GuidedUpscale:
    torch.manual_seed(0)
    return GuidedUpscale(width=4, inner_widths=[4], refine_width=4, hidden_width=8)


def run(photographs: Photographs, **options: object) -> dict[str, torch.Tensor]:
    model = network()
    painters = [negative, hatched]
    fit_guided_upscale(model, photographs, painters, options.pop("recipe", RECIPE), **options)
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_loss_by_hand() -> None:
    answer = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).expand(1, 3, 2, 2)
    reference = torch.zeros(1, 3, 2, 2)
    original = torch.tensor([[0.0, 0.5], [0.0, 0.0]]).expand(1, 3, 2, 2)
    parts = guided_upscale_loss(answer, reference, original)
    assert parts["difference"].item() == pytest.approx(0.5)
    # Across: (1, 0) against (0.5, 0); down: (0.5, -0.5) against (0, -0.5).
    assert parts["gradient"].item() == pytest.approx((0.25 + 0.25) / 2)
    assert parts["variation"].item() == pytest.approx(3 * (1 + 0.25 + 0.25))
    assert guided_upscale_loss(answer, reference, answer)["gradient"].item() == 0
    both = guided_upscale_loss(
        torch.cat([answer, reference]), torch.cat([reference] * 2), edges=torch.cat([original] * 2)
    )
    assert both["difference"].tolist() == pytest.approx([0.5, 0])
    with pytest.raises(UsageError):
        guided_upscale_loss(answer, reference[..., :1], original)


def test_smoothing_keeps_what_is_linear_in_the_picture_and_nothing_else() -> None:
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 16, 16)
    mix = torch.tensor([[0.5, 0.2, 0.1], [-0.3, 0.4, 0.2], [0.1, 0.1, 0.6]])
    painting = torch.einsum("ck,nkhw->nchw", mix, picture) + 0.2
    smooth = matting_smoothed(painting, picture, 2, 1e-6)
    assert (smooth - painting).abs().max() < 1e-3
    grid = 0.1 * (torch.arange(16) % 2 * 2 - 1).expand(1, 3, 16, 16)
    plain = torch.full_like(picture, 0.5)
    cleaned = matting_smoothed(plain + grid, plain, 2, 1e-4)
    assert (cleaned - 0.5).abs().max() < 0.3 * 0.1
    assert torch.equal(matting_smoothed(painting, picture, 0, 1e-4), painting)
    with pytest.raises(UsageError):
        matting_smoothed(painting, picture[..., :8], 2, 1e-4)


def test_a_pair_is_painted_twice_where_both_sizes_agree(folder: Path) -> None:
    picture = np.asarray(Image.open(folder / "0.png"))
    size = (30, 40)  # at 72 x 96 no whole ratio: there by area is not what other filters give
    pair = painted_pair(picture, negative, size)
    assert not pair.reduced
    assert np.array_equal(pair.reference, 255 - picture)
    assert np.array_equal(pair.small, 255 - shrunk_picture(picture, 40, 30))
    strokes = painted_pair(picture, hatched, size)
    assert strokes.reduced
    assert np.array_equal(strokes.small, shrunk_picture(hatched(picture), 40, 30))
    assert not painted_pair(picture, hatched, size, agreement=0).reduced
    assert painted_pair(picture, negative, size, agreement=math.inf).reduced


def test_a_painter_that_returns_no_picture_is_told(folder: Path) -> None:
    picture = np.asarray(Image.open(folder / "0.png"))
    for wrong in (lambda p: p[:-1], lambda p: p.astype(np.float32), lambda p: None):
        with pytest.raises(ModelOutputError, match="painter returned"):
            painted_pair(picture, wrong, (36, 48))


def test_lessons_depend_on_the_step_alone(photographs: Photographs, folder: Path) -> None:
    painters = [negative, hatched]
    lessons = GuidedUpscaleBatches(photographs, painters, RECIPE)
    forwards = [lessons.at(step) for step in range(4)]
    again = GuidedUpscaleBatches(Photographs(folder, RECIPE.crop), painters, RECIPE)
    for step in (3, 0, 2, 1):
        lesson = again.at(step)
        for name in ("painted", "original", "reference"):
            assert torch.equal(getattr(lesson, name), getattr(forwards[step], name))
    scales = {lessons.scale(step) for step in range(0, 400, 2)}
    assert min(scales) == 1.1 or min(scales) * 10 == 11
    assert max(scales) == 4 and len(scales) > 20
    for step, lesson in enumerate(forwards):
        scale = lessons.scale(step)
        assert lesson.original.shape == lesson.reference.shape
        assert lesson.painted.shape[2] * scale == lesson.original.shape[2]


def test_patches_of_a_pair_lie_over_each_other(photographs: Photographs) -> None:
    lesson = GuidedUpscaleBatches(photographs, [negative], RECIPE).at(0)
    torch.testing.assert_close(lesson.reference, 1 - lesson.original, atol=1e-6, rtol=0)
    lines = torch.nn.functional.interpolate(
        lesson.painted, size=lesson.reference.shape[2:], mode="bilinear"
    )
    assert (lines - lesson.reference).abs().mean() < 0.1


def test_a_run_that_was_ended_goes_on_to_the_same_bytes(
    photographs: Photographs, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    wanted = run(photographs, checkpoint=whole)
    assert not same(wanted, network().state_dict())
    for steps in (1, 2, 10):
        found = run(photographs, checkpoint=parts, stop_after_steps=steps)
    assert same(found, wanted)
    files = [folder / "checkpoint.safetensors" for folder in (whole, parts)]
    assert files[0].read_bytes() == files[1].read_bytes()
    # Once more finds it finished and changes nothing.
    assert same(run(photographs, checkpoint=parts), wanted)
    other = run(photographs, recipe=RECIPE.changed(seed=4))
    assert not same(other, wanted)


def test_checkpoints_of_other_runs_are_refused(photographs: Photographs, tmp_path: Path) -> None:
    run(photographs, checkpoint=tmp_path, stop_after_steps=1)
    with pytest.raises(TrainingError, match="seed"):
        run(photographs, checkpoint=tmp_path, recipe=RECIPE.changed(seed=9))
    with pytest.raises(TrainingError, match="painted_by"):
        run(photographs, checkpoint=tmp_path, identity={"painted_by": "another"})
    path = tmp_path / "checkpoint.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(TrainingError, match="damaged"):
        run(photographs, checkpoint=tmp_path)
    path.write_bytes(save({"x": torch.zeros(1)}, metadata={"run": json.dumps({"version": 2})}))
    with pytest.raises(TrainingError, match="damaged"):
        run(photographs, checkpoint=tmp_path)
    assert run(photographs, checkpoint=tmp_path, resume=False)


def test_a_loss_that_is_not_finite_ends_the_run(photographs: Photographs, tmp_path: Path) -> None:
    run(photographs, checkpoint=tmp_path, stop_after_steps=2)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    model = network()
    model.stem.bias.data[0] = math.nan
    model.train(False)
    with pytest.raises(DivergedError, match="step 0"):
        fit_guided_upscale(model, photographs, [negative], RECIPE)
    assert not model.training
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_it_learns_that_colours_change_places(folder: Path) -> None:
    torch.set_num_threads(1)
    for path in folder.iterdir():
        # Noise: only the picture knows where it is.
        noise = np.random.default_rng(1).integers(0, 255, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    photographs = Photographs(folder, RECIPE.crop)

    def painter(picture: Picture) -> Picture:
        return picture[..., [1, 2, 0]].copy()

    recipe = RECIPE.changed(steps=40, learning_rate=2e-2, gradient_weight=0.0)
    model = network()
    lesson = GuidedUpscaleBatches(photographs, [painter], recipe).at(1000)

    def error() -> float:
        with torch.no_grad():
            return (model(lesson.painted, lesson.original) - lesson.reference).abs().mean().item()

    before = error()
    told: list[int] = []
    history = fit_guided_upscale(
        model,
        photographs,
        [painter],
        recipe,
        on_progress=lambda progress: told.append(progress.step),
    )
    assert error() < 0.7 * before
    assert told == list(range(1, 41)) and history.finished and history.steps == 40
    assert history.records[-1].losses["difference"] > 0


def test_settings_that_make_no_sense_are_refused(photographs: Photographs) -> None:
    for options in (
        {"steps": 0},
        {"smallest_scale": 3.0, "largest_scale": 2.0},
        {"largest_scale": 9.0},
        {"smallest_scale": 0.5},
        {"pairs": 5},
        {"steps": 10, "warmup_steps": 10},
        {"learning_rate": math.nan},
        {"learning_rat": 1e-3},
    ):
        with pytest.raises(UsageError):
            GuidedUpscaleRecipe(**options)
    for painters in ([], [None]):
        with pytest.raises(UsageError, match="painters"):
            fit_guided_upscale(network(), photographs, painters, RECIPE)
    with pytest.raises(UsageError, match="stop_after_steps"):
        fit_guided_upscale(network(), photographs, [negative], RECIPE, stop_after_steps=0)


def test_the_rate_rises_and_falls() -> None:
    recipe = RECIPE.changed(steps=12, warmup_steps=2, learning_rate=1.0)
    assert [rate_at(recipe, step) for step in (0, 1, 2, 7)] == pytest.approx([0.5, 1, 1, 0.5])
