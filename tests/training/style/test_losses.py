"""Losses of style transfer: values by hand and properties."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from edgesdk.errors import UsageError
from edgesdk.training.style.gram import gram_matrix
from edgesdk.training.style.losses import (
    adain,
    content_loss,
    gram_loss,
    interpolation_weights,
    moments,
    moments_loss,
    temporal_loss,
    total_variation,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_gram_matrix_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 2)
    assert torch.equal(gram_matrix(features), torch.tensor([[[1.25, 2.75], [2.75, 6.25]]]))


def test_gram_matrix_does_not_see_places_and_does_not_overflow_in_half_precision() -> None:
    features = noise(2, 5, 6, 4)
    shuffled = features.flatten(2)[..., torch.randperm(24)].view(2, 5, 4, 6)
    torch.testing.assert_close(gram_matrix(features), gram_matrix(shuffled))
    large = torch.full((1, 2, 64, 64), 200.0, dtype=torch.float16)
    assert torch.equal(gram_matrix(large), torch.full((1, 2, 2), 20000.0))


def test_total_variation_by_hand() -> None:
    picture = torch.tensor([[0.0, 1.0], [2.0, 4.0]]).view(1, 1, 2, 2)
    assert total_variation(picture).tolist() == [18.0]
    assert total_variation(torch.ones(2, 3, 4, 5)).tolist() == [0.0, 0.0]


def test_adain_by_hand() -> None:
    content = torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)
    style = torch.tensor([5.0, 9.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(adain(content, *moments(style)), style, atol=2e-5, rtol=0)


def test_adain_gives_the_moments_it_was_given_and_plain_areas_stay_finite() -> None:
    content, style = noise(2, 3, 8, 9), noise(1, 3, 5, 5, seed=1) * 7
    found = moments(adain(content, *moments(style)))
    for mine, wanted in zip(found, moments(style), strict=True):
        torch.testing.assert_close(mine, wanted.expand_as(mine), atol=2e-3, rtol=1e-3)
    plain = adain(torch.full((1, 3, 4, 4), 0.5), *moments(style))
    torch.testing.assert_close(plain, moments(style)[0].expand_as(plain))


def test_losses_are_zero_for_equals_and_do_not_depend_on_a_layers_scale() -> None:
    features = {"a": noise(2, 4, 6, 6), "b": noise(2, 8, 3, 3, seed=1)}
    others = {"a": noise(2, 4, 6, 6, seed=2), "b": noise(2, 8, 3, 3, seed=3)}
    large = {name: 1000 * value for name, value in features.items()}
    large_others = {name: 1000 * value for name, value in others.items()}

    def grams(of: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: gram_matrix(value) for name, value in of.items()}

    for loss, prepared in (
        (gram_loss, grams),
        (moments_loss, lambda of: {name: moments(value) for name, value in of.items()}),
        (content_loss, dict),
    ):
        assert loss(features, prepared(features)).abs().max() < 1e-10
        there = loss(features, prepared(others))
        assert there.shape == (2,) and (there > 1e-3).all()
        torch.testing.assert_close(loss(large, prepared(large_others)), there, rtol=1e-3, atol=1e-6)
        black = {name: torch.zeros_like(value) for name, value in features.items()}
        assert loss(black, prepared(others)).min() > 0.9


def test_content_loss_by_hand() -> None:
    one, other = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0])
    loss = content_loss({"a": one.view(1, 1, 1, 2)}, {"a": other.view(1, 1, 1, 2)})
    assert loss.tolist() == [(1 + 4) / 2 / ((4 + 1) / 2)]


def test_temporal_loss_follows_the_flow() -> None:
    before = noise(1, 3, 6, 8)
    now = torch.zeros_like(before)
    now[..., :5, 2:] = before[..., 1:, :-2]
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0], flow[:, 1] = -2, 1
    visible = torch.zeros(1, 1, 6, 8)
    visible[..., :5, 2:] = 1
    assert temporal_loss(now, before, flow, visible).item() < 1e-10
    # Two levels more in every channel of half of what is visible.
    now[..., :5, 2:5] += 2
    assert math.isclose(temporal_loss(now, before, flow, visible).item(), 2.0, rel_tol=1e-5)
    assert temporal_loss(now, before, flow, torch.zeros_like(visible)).item() == 0


def test_gradients_reach_the_painting() -> None:
    painted = noise(1, 3, 5, 5).requires_grad_()
    style = noise(1, 3, 5, 5, seed=4)
    loss = gram_loss({"a": painted}, {"a": gram_matrix(style)}).sum()
    loss = loss + moments_loss({"a": painted}, {"a": moments(style)}).sum()
    loss.backward()
    assert painted.grad is not None and painted.grad.isfinite().all()
    assert painted.grad.abs().max() > 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: gram_matrix(torch.zeros(3, 4)),
        lambda: gram_matrix(torch.zeros(1, 0, 4, 4)),
        lambda: adain(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)),
        lambda: gram_loss({}, {}),
        lambda: content_loss({"a": torch.ones(1, 1, 1, 1)}, {"b": torch.ones(1, 1, 1, 1)}),
        lambda: temporal_loss(
            torch.zeros(1, 3, 4, 4),
            torch.zeros(1, 3, 4, 4),
            torch.zeros(1, 2, 4, 5),
            torch.zeros(1, 1, 4, 4),
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call: Callable[[], torch.Tensor]) -> None:
    with pytest.raises(UsageError):
        call()


def test_losses_are_means_over_layers() -> None:
    # One layer equals its style, the other is black: 0 and 1.
    equal, black = torch.tensor([[[[1.0, 2.0]]]]), torch.zeros(1, 1, 1, 2)
    style = gram_matrix(equal)
    found = gram_loss({"a": equal, "b": black}, {"a": style, "b": style})
    torch.testing.assert_close(found, torch.tensor([0.5]))
    found = content_loss({"a": equal, "b": black}, {"a": equal, "b": equal})
    torch.testing.assert_close(found, torch.tensor([0.5]))
    # Mean and deviation count one each in a layer; a style without deviation keeps the epsilon.
    wanted = moments(equal)
    found = moments_loss({"a": equal, "b": black}, {"a": wanted, "b": wanted})
    mean, deviation = 1.0, (math.sqrt(0.25 + 1e-5) - math.sqrt(1e-5)) ** 2 / (0.25 + 1e-5)
    torch.testing.assert_close(found, torch.tensor([(mean + deviation) / 2]))


def test_losses_are_per_picture() -> None:
    equal, black = torch.tensor([[[[1.0, 2.0]]]]), torch.zeros(1, 1, 1, 2)
    both = torch.cat([equal, black])
    assert gram_loss({"a": both}, {"a": gram_matrix(equal)}).tolist() == [0.0, 1.0]
    assert content_loss({"a": both}, {"a": torch.cat([equal, equal])}).tolist() == [0.0, 1.0]


def test_interpolation_weights_by_hand() -> None:
    small = torch.full((2, 3, 4, 4), 0.5)
    reference = torch.full((2, 3, 8, 8), 0.5)
    reference[1] += 0.03
    found = interpolation_weights(small, reference)
    expected = [0.03 / (1 / 255), 0.03 / (0.03 + 1 / 255)]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-4)
