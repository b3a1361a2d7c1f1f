"""The objective of a stylizer, on pictures with known values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.training.schedules import rate_at
from edgesdk.training.style.gram import unpainted_distances
from edgesdk.training.style.grid_artifacts import grid_artifact_share
from edgesdk.training.style.objective import (
    PARTS,
    StyleGoals,
    StyleObjective,
    tone_loss,
)
from edgesdk.training.style.paintings import as_tensor, gram_targets, read_paintings, scaled
from edgesdk.training.style.perceptual import PerceptualNet, load_perceptual
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.synthetic_motion import flows, second_frames, warp


@pytest.fixture(scope="module")
def net(trunk: Path) -> PerceptualNet:
    return load_perceptual(trunk)


def pictures(seed: int, count: int = 2) -> torch.Tensor:
    return torch.rand((count, 3, 48, 64), generator=torch.Generator().manual_seed(seed))


def test_tone_of_brighter_and_stronger_pictures_is_the_same() -> None:
    photographs = 0.4 * pictures(0) + 0.2
    # Up to the one level that keeps plain pictures from being amplified.
    assert tone_loss(0.8 * photographs + 0.1, photographs).tolist() == pytest.approx(
        [0, 0], abs=5e-3
    )
    assert tone_loss(1 - photographs, photographs).tolist() == pytest.approx([4, 4], rel=0.15)


def test_tone_of_unrelated_pictures_is_two() -> None:
    found = tone_loss(pictures(1, 40), pictures(2, 40)).mean().item()
    assert found == pytest.approx(2, rel=0.15)


def test_the_painting_itself_has_its_style_and_photographs_are_one_away(
    net: PerceptualNet, paintings_folder: Path, short: StyleRecipe
) -> None:
    painting = read_paintings(paintings_folder).paintings[0]
    grams = gram_targets(net, [painting], short.style_layers, [96])
    photographs = pictures(3, 6)
    distances = unpainted_distances(net, photographs, grams)
    goals = StyleGoals(grams, distances)
    objective = StyleObjective(net, short)
    itself = as_tensor(scaled(painting, 96))
    parts = objective.parts(itself, itself, goals.of(torch.tensor([0])))
    assert parts["style"].item() == pytest.approx(0, abs=1e-6)
    assert parts["content"].item() == parts["tone"].item() == 0
    styles = torch.zeros(6, dtype=torch.int64)
    unpainted = objective.parts(photographs, photographs, goals.of(styles))
    assert unpainted["style"].mean().item() == pytest.approx(1, rel=1e-4)


def test_a_layer_without_distance_does_not_divide_by_nothing(net: PerceptualNet) -> None:
    photograph = pictures(4, 1)
    painting = gram_targets_of(net, photograph)
    found = unpainted_distances(net, photograph, painting)
    own = painting["conv1_1"].square().sum().item()
    assert found["conv1_1"].item() == pytest.approx(0.05 * own)


def gram_targets_of(net: PerceptualNet, picture: torch.Tensor) -> dict[str, torch.Tensor]:
    from edgesdk.training.style.gram import gram_matrix

    return {"conv1_1": gram_matrix(net(picture, ["conv1_1"])["conv1_1"])}


def test_the_total_is_the_weighted_sum(net: PerceptualNet, short: StyleRecipe) -> None:
    recipe = short.changed(
        content_weight=1,
        tone_weight=2,
        style_weight=3,
        variation_weight=4,
        lattice_weight=5,
        temporal_weight=6,
    )
    objective = StyleObjective(net, recipe)
    parts = {name: torch.tensor([10.0**place]) for place, name in enumerate(PARTS)}
    assert objective.total(parts).item() == 654321


def test_variation_is_a_mean_a_value(net: PerceptualNet, short: StyleRecipe) -> None:
    painted = torch.zeros(1, 3, 64, 64)
    painted[:, :, :, 32:] = 1
    grams = gram_targets_of(net, painted)
    goals = StyleGoals(grams, {"conv1_1": torch.ones(1)})
    objective = StyleObjective(net, short.changed(style_layers=["conv1_1"]))
    parts = objective.parts(painted, painted, goals.of(torch.tensor([0])))
    # One edge of height 64 in each of 64 columns.
    assert parts["variation"].item() == pytest.approx(1 / 64)


def test_a_lattice_is_taken_out_and_strokes_stay(net: PerceptualNet, short: StyleRecipe) -> None:
    """Descending the loss of a picture removes what repeats every 16 pixels and little else."""
    generator = torch.Generator().manual_seed(0)
    strokes = 0.4 + 0.2 * torch.rand(1, 1, 160, 160, generator=generator)
    cell = 0.1 * torch.rand(1, 1, 16, 16, generator=generator)
    painted = (strokes + cell.repeat(1, 1, 10, 10)).expand(1, 3, 160, 160).clone()
    only = {f"{part}_weight": 0 for part in PARTS} | {"lattice_weight": 1}
    objective = StyleObjective(net, short.changed(style_layers=["conv1_1"], **only))
    goals = StyleGoals(gram_targets_of(net, painted), {"conv1_1": torch.ones(1)})

    def lattice(picture: torch.Tensor) -> torch.Tensor:
        return objective.total(objective.parts(painted, picture, goals)).sum()

    picture = painted.clone().requires_grad_()
    before = lattice(picture).item()
    assert before == pytest.approx(0.2, abs=0.03)
    optimizer = torch.optim.SGD([picture], lr=200.0)
    for _ in range(20):
        optimizer.zero_grad()
        lattice(picture).backward()
        optimizer.step()
    assert lattice(picture).item() < 0.1 * before
    # What changed repeats with the grid; the strokes are left (correlated by 0.89 before).
    change = (picture - painted).detach()
    assert grid_artifact_share(change, 16).item() > 0.75
    kept = torch.corrcoef(torch.stack([picture.detach().mean(1).flatten(), strokes.flatten()]))
    assert kept[0, 1].item() > 0.99


def test_a_plain_painting_has_a_gradient(net: PerceptualNet, short: StyleRecipe) -> None:
    plain = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    objective = StyleObjective(net, short.changed(style_layers=["conv1_1"], lattice_weight=1))
    goals = StyleGoals(gram_targets_of(net, pictures(8, 1)), {"conv1_1": torch.ones(1)})
    parts = objective.parts(plain.detach(), plain, goals)
    objective.total(parts).sum().backward()
    assert parts["lattice"].item() == 0
    assert plain.grad is not None and torch.isfinite(plain.grad).all()


def test_bad_objectives(net: PerceptualNet, short: StyleRecipe) -> None:
    with pytest.raises(UnknownNameError, match="conv3_3"):
        StyleObjective(net, short.changed(content_layers=["conv3_3"]))
    nothing = {f"{part}_weight": 0 for part in PARTS}
    with pytest.raises(UsageError, match="every weight"):
        StyleObjective(net, short.changed(**nothing))


def test_carrying_by_whole_pixels_is_exact() -> None:
    picture = pictures(5, 1)
    flow = torch.zeros(1, 2, 48, 64)
    flow[:, 0], flow[:, 1] = 3, -2
    found = warp(picture, flow)
    torch.testing.assert_close(found[..., 2:, :61], picture[..., :-2, 3:])


def test_motions_are_functions_of_seed_and_turn_and_visible_where_they_stay_inside() -> None:
    flow, visible = flows(3, 40, 56, seed=1, turn=2)
    again, _ = flows(3, 40, 56, seed=1, turn=2)
    other, _ = flows(3, 40, 56, seed=1, turn=3)
    assert torch.equal(flow, again) and not torch.equal(flow, other)
    assert flow.shape == (3, 2, 40, 56) and visible.shape == (3, 1, 40, 56)
    x = torch.arange(56.0) + flow[:, 0]
    y = torch.arange(40.0)[:, None] + flow[:, 1]
    inside = (x >= 0) & (x <= 55) & (y >= 0) & (y <= 39)
    assert torch.equal(visible[:, 0] > 0, inside)
    assert 0.6 < visible.mean().item() < 1


def test_second_frames_are_carried_with_noise() -> None:
    picture = 0.5 * pictures(6, 1) + 0.25
    still = torch.zeros(1, 2, 48, 64)
    apart = second_frames(picture, still, seed=0, turn=0) - picture
    assert apart.std().item() == pytest.approx(2 / 255, rel=0.1)
    assert torch.equal(second_frames(picture, still, 0, 0), second_frames(picture, still, 0, 0))


def test_a_network_that_does_nothing_is_steady(net: PerceptualNet, short: StyleRecipe) -> None:
    picture = pictures(7, 1)
    flow, visible = flows(1, 48, 64, seed=0, turn=0)
    second = warp(picture, flow)
    found = StyleObjective(net, short).temporal(picture, second, flow, visible)
    assert found.item() == pytest.approx(0, abs=1e-12)
    other = StyleObjective(net, short).temporal(picture, second + 0.1, flow, visible)
    assert other.item() == pytest.approx(0.01, rel=1e-3)


def test_rates() -> None:
    recipe = StyleRecipe(steps=110, warmup_steps=10, learning_rate=0.1)
    assert [rate_at(recipe, step) for step in (0, 4, 9)] == pytest.approx([0.01, 0.05, 0.1])
    assert rate_at(recipe, 60) == pytest.approx(0.05)
    assert rate_at(recipe, 110) == pytest.approx(0)
    assert rate_at(recipe.changed(schedule="constant"), 100) == 0.1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps"),
        ({"crop": 100}, "crop"),
        ({"crop": 56}, "crop"),
        ({"style_sizes": []}, "style_sizes"),
        ({"style_sizes": [32]}, "style_sizes"),
        ({"style_layers": ["conv1_1", "conv1_1"]}, "style_layers"),
        ({"style_weight": -1}, "style_weight"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"steps": 10, "warmup_steps": 10}, "warmup_steps 10 are not below"),
        ({"style_wieght": 3}, "did you mean 'style_weight'"),
    ],
)
def test_bad_recipes(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        StyleRecipe(**settings)
    assert said in f"{caught.value} {caught.value.remedy}"


def test_recipes_are_json_and_back(short: StyleRecipe) -> None:
    assert StyleRecipe.from_dict(short.to_dict()) == short
    assert np.isfinite(short.learning_rate)
