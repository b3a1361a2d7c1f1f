"""Learning rates, by hand."""

from __future__ import annotations

import math

import pytest

from edgesdk.training import Recipe, recipe
from edgesdk.training.schedules import learning_rate

BASE = Recipe(epochs=4, batch_size=2, optimizer="sgd", learning_rate=1.0)


def rates(changed: Recipe, steps_per_epoch: int) -> list[float]:
    count = changed.epochs * steps_per_epoch
    return [learning_rate(changed, step, steps_per_epoch) for step in range(count)]


def test_cosine():
    expected = [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    assert rates(BASE.changed(schedule="cosine"), 1) == pytest.approx(expected)


def test_cosine_after_warm_up():
    # Two steps of warm-up, then six steps of the cosine: the fourth of them is half way.
    found = rates(BASE.changed(schedule="cosine", warmup_epochs=1), 2)
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[5] == pytest.approx(0.5)
    assert found[-1] == pytest.approx((1 + math.cos(math.pi * 5 / 6)) / 2)


def test_half_an_epoch_of_warm_up():
    found = rates(BASE.changed(schedule="constant", warmup_epochs=0.5), 4)
    assert found == [0.5] + [1.0] * 15


def test_step():
    found = rates(BASE.changed(schedule="step", milestones=(0.5, 0.75), gamma=0.1), 1)
    assert found == pytest.approx([1, 1, 0.1, 0.01])


def test_milestones_of_the_paper_fall_on_whole_epochs():
    paper = recipe("cifar_sgd")
    per_epoch = 782
    for epoch, rate in ((0, 0.1), (79, 0.1), (80, 0.01), (119, 0.01), (120, 0.001), (159, 0.001)):
        for step in (0, per_epoch - 1):
            found = learning_rate(paper, epoch * per_epoch + step, per_epoch)
            assert found == pytest.approx(rate), (epoch, step)


def test_fractions_without_end_fall_on_whole_epochs():
    large = recipe("imagenet_sgd")
    per_epoch = 5005
    assert learning_rate(large, 50 * per_epoch - 1, per_epoch) == pytest.approx(0.1)
    assert learning_rate(large, 50 * per_epoch, per_epoch) == pytest.approx(0.01)
    assert learning_rate(large, 70 * per_epoch, per_epoch) == pytest.approx(0.001)


def test_constant():
    assert set(rates(BASE.changed(schedule="constant"), 3)) == {1.0}
