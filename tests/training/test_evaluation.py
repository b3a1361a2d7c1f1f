"""Accuracy, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from edgesdk.errors import DataError, ModelOutputError
from edgesdk.training import evaluate


class Echo(nn.Module):
    """Answers what stands in the image."""

    def forward(self, x):
        return x.flatten(1)


class Listed(torch.utils.data.Dataset):
    def __init__(self, rows, labels):
        self.rows, self.labels = torch.tensor(rows, dtype=torch.float32), labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.rows[index].reshape(1, 1, -1), self.labels[index]


@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_accuracy_by_hand(batch_size):
    rows = [
        [9, 0, 0, 0, 0, 0],  # first
        [5, 4, 3, 2, 1, 9],  # fifth of five: among the five best
        [9, 8, 7, 6, 5, 0],  # sixth: not
    ]
    found = evaluate(Echo(), Listed(rows, [0, 3, 5]), batch_size=batch_size)
    assert (found.top1, found.top5, found.samples) == pytest.approx((1 / 3, 2 / 3, 3))
    losses = [
        math.log(sum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(rows, [0, 3, 5], strict=True)
    ]
    assert found.loss == pytest.approx(sum(losses) / 3)


def test_two_classes_have_no_fifth():
    found = evaluate(Echo(), Listed([[1, 0], [1, 0]], [0, 1]))
    assert (found.top1, found.top5) == (0.5, 1.0)


def test_modes_are_given_back(tiny_net, images):
    model = tiny_net(dropout=0.5)
    model.norm.eval()
    before = model.norm.running_mean.clone()
    assert evaluate(model, images) == evaluate(model, images)
    assert (model.training, model.norm.training) == (True, False)
    assert torch.equal(model.norm.running_mean, before)


def test_bytes_are_normalised(images):
    seen = []

    class Mean(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.mean((1, 2, 3))[:, None].expand(-1, 3)

    model = Mean()
    evaluate(model, images, mean=[0.5], std=[2.0])
    expected = (images.batch(range(42))[0].float() / 255 - 0.5) / 2
    assert torch.allclose(seen[0], expected)


def test_what_cannot_be_evaluated(tiny_net, images):
    with pytest.raises(DataError, match="for evaluation is empty"):
        evaluate(Echo(), Listed([], []))
    with pytest.raises(DataError, match="label 2, which is out of range for a model of 2"):
        evaluate(tiny_net(classes=2), images)
    with pytest.raises(ModelOutputError, match="not scores"):
        evaluate(nn.Identity(), images)
    with pytest.raises(ModelOutputError, match="not finite"):
        evaluate(Echo(), Listed([[float("nan"), 0.0]], [0]))
