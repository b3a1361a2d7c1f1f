"""Averaged weights, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgesdk.training.ema import AveragedWeights


def scalar(value: float) -> nn.Module:
    model = nn.BatchNorm1d(1)
    with torch.no_grad():
        model.weight.fill_(value)
    return model


def test_an_average_by_hand():
    model = scalar(0.0)
    average = AveragedWeights(model, 0.25)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.running_mean.fill_(2.0)
        model.num_batches_tracked.fill_(9)
    # Step 0: decay min(0.25, 1/10) = 0.1; step 8: min(0.25, 9/18) = 0.25.
    average.update(model, 0)
    assert average.values["weight"].item() == pytest.approx(0.9)
    assert average.values["running_mean"].item() == pytest.approx(1.8)
    assert average.values["num_batches_tracked"].item() == 9
    average.update(model, 8)
    assert average.values["weight"].item() == pytest.approx(0.25 * 0.9 + 0.75)


def test_a_model_lends_its_place_and_gets_it_back():
    model = scalar(0.0)
    average = AveragedWeights(model, 0.5)
    average.values["weight"].fill_(3.0)
    with average.in_place_of(model):
        assert model.weight.item() == 3.0
    assert model.weight.item() == 0.0
    average.write_into(model)
    assert model.weight.item() == 3.0


def test_the_average_is_apart_from_the_model():
    model = scalar(1.0)
    average = AveragedWeights(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(7.0)
    assert average.values["weight"].item() == 1.0
