"""The loop: what a step computes, what a run repeats, what it refuses."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from edgesdk.errors import (
    DataError,
    MissingBackendError,
    ModelOutputError,
    TrainingError,
    UsageError,
)
from edgesdk.training import History, LabelledImages, Recipe, evaluate, fit

PLAIN = Recipe(epochs=1, batch_size=4, optimizer="sgd", learning_rate=0.5, schedule="constant")


def weights(model) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


class Linear(nn.Module):
    """Two scores of an image of one pixel."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0, 0.0]))

    def forward(self, x):
        return x.flatten(1) * self.weight


@pytest.fixture
def pixels():
    """Four white pixels: three of the first class."""
    return LabelledImages(
        torch.full((4, 1, 1, 1), 255, dtype=torch.uint8), torch.tensor([0, 0, 0, 1]), ("a", "b")
    )


def test_a_step_by_hand(pixels):
    model = Linear()
    history = fit(model, pixels, PLAIN.changed(momentum=0.0))
    # Both scores are 0: the loss is log 2, the gradient of the first score is 1/2 - 3/4.
    assert history.epochs[0].loss == pytest.approx(math.log(2))
    assert history.epochs[0].top1 == 0.75
    assert model.weight.tolist() == pytest.approx([0.125, -0.125])


def test_smoothed_labels_by_hand(pixels):
    model = Linear()
    fit(model, pixels, PLAIN.changed(momentum=0.0, label_smoothing=0.2))
    # The target is 0.9 and 0.1 in place of 1 and 0: 0.7 on average in place of 0.75.
    assert model.weight.tolist() == pytest.approx([0.1, -0.1])


def test_momentum_decay_and_schedule_by_hand(pixels):
    recipe = PLAIN.changed(
        epochs=2, momentum=0.5, weight_decay=0.1, schedule="step", milestones=[0.5]
    )
    model = Linear()
    history = fit(model, pixels, recipe)
    first = 0.125
    share = 1 / (1 + math.exp(-2 * first))
    step = 0.5 * -0.25 + (share - 0.75) + 0.1 * first
    assert model.weight[0].item() == pytest.approx(first - 0.05 * step)
    assert [record.learning_rate for record in history.epochs] == pytest.approx([0.5, 0.05])


def test_clipping_by_hand(pixels):
    model = Linear()
    fit(model, pixels, PLAIN.changed(momentum=0.0, clip_gradient=0.1))
    assert model.weight.norm().item() == pytest.approx(0.05, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_takes_a_first_step_of_the_rate(pixels, optimizer):
    model = Linear()
    fit(model, pixels, PLAIN.changed(optimizer=optimizer))
    assert model.weight.tolist() == pytest.approx([0.5, -0.5])


def test_mixing_labels_by_hand(pixels):
    # White pixels mixed with white pixels stay white; the targets are what changes, and their
    # mean over a batch of whole pairs stays what it was.
    model = Linear()
    history = fit(model, pixels, PLAIN.changed(momentum=0.0, mixup=1.0))
    assert model.weight.tolist() == pytest.approx([0.125, -0.125])
    assert history.epochs[0].top1 == pytest.approx(0.75)


def test_a_net_learns(tiny_net, images):
    model = tiny_net()
    recipe = PLAIN.changed(epochs=6, batch_size=8, learning_rate=0.05, schedule="cosine")
    history = fit(model, images, recipe, validation=images, mean=[0.3], std=[0.2])
    losses = [record.loss for record in history.epochs]
    assert losses[-1] < 0.5 * losses[0]
    assert history.epochs[-1].validation_top1 > 0.9
    found = evaluate(model, images, mean=[0.3], std=[0.2])
    assert found.top1 == history.epochs[-1].validation_top1
    assert found.loss == pytest.approx(history.epochs[-1].validation_loss)
    assert (history.finished, history.steps, history.resumed_at) == (True, 36, 0)
    assert json.loads(json.dumps(history.to_dict()))["epochs"][0]["loss"] == losses[0]


def test_two_runs_are_the_same_bytes(tiny_net, images, short):
    first, second = tiny_net(dropout=0.3), tiny_net(dropout=0.3)
    torch.manual_seed(1)
    one = fit(first, images, short, validation=images)
    torch.manual_seed(2)
    two = fit(second, images, short, validation=images)
    assert weights(first) == weights(second)
    for a, b in zip(one.epochs, two.epochs, strict=True):
        assert (a.loss, a.top1, a.validation_loss) == (b.loss, b.top1, b.validation_loss)
    third = tiny_net(dropout=0.3)
    fit(third, images, short.changed(seed=4))
    assert weights(third) != weights(first)


def test_validation_and_progress_change_nothing(tiny_net, images, short):
    first, second = tiny_net(dropout=0.3), tiny_net(dropout=0.3)
    fit(first, images, short)
    fit(second, images, short, validation=images, on_progress=lambda told: torch.rand(3))
    assert weights(first) == weights(second)


def test_global_generators_and_modes_are_given_back(tiny_net, images, short):
    model = tiny_net().eval()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    expected = torch.rand(2), random.random(), np.random.rand()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    fit(model, images, short)
    assert torch.equal(torch.rand(2), expected[0])
    assert (random.random(), np.random.rand()) == expected[1:]
    assert not model.training
    assert not model.norm.training


def test_averaged_weights_are_validated_and_kept(tiny_net, images, short):
    plain, averaged = tiny_net(), tiny_net()
    fit(plain, images, short.changed(ema_decay=0))
    history = fit(averaged, images, short, validation=images)
    assert weights(plain) != weights(averaged)
    assert evaluate(averaged, images).loss == pytest.approx(history.epochs[-1].validation_loss)


def test_the_augmented_images_are_what_is_learnt_from(tiny_net, images):
    plain, changed = tiny_net(), tiny_net()
    recipe = PLAIN.changed(batch_size=8, learning_rate=0.05)
    fit(plain, images, recipe)
    fit(changed, images, recipe.changed(augmentation={"flip": 0.5}))
    assert weights(plain) != weights(changed)


class Doubled(torch.utils.data.Dataset):
    """A data set of the user: floating images with noise of its own."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image, label = self.images[index]
        return image.float() / 128 + 0.1 * torch.randn(image.shape), label


@pytest.mark.parametrize("workers", [0, 1])
def test_any_data_set_will_do(tiny_net, images, short, workers):
    recipe = short.changed(epochs=1, augmentation={"colour": 0})
    first, second = tiny_net(), tiny_net()
    history = fit(first, Doubled(images), recipe, validation=Doubled(images), workers=workers)
    fit(second, Doubled(images), recipe)
    assert history.epochs[0].validation_top1 is not None
    assert weights(first) == weights(second)


def test_half_precision(tiny_net, images, short):
    history = fit(tiny_net(), images, short.changed(precision="bf16"), validation=images)
    full = fit(tiny_net(), images, short, validation=images)
    assert history.epochs[0].loss == pytest.approx(full.epochs[0].loss, rel=0.02)
    assert history.epochs[0].loss != full.epochs[0].loss
    with pytest.raises(TrainingError, match="bf16"):
        fit(tiny_net(), images, short.changed(precision="fp16"))


def test_a_model_keeps_its_own_forward(tiny_net, images, short):
    model = tiny_net()
    fit(model, images, short.changed(precision="bf16", epochs=1, warmup_epochs=0))
    assert "forward" not in vars(model)
    assert model(torch.zeros(2, 1, 8, 8)).dtype == torch.float32


def test_progress_is_told(tiny_net, images, short):
    told = []
    history = fit(tiny_net(), images, short, on_progress=told.append)
    assert [entry.step for entry in told] == list(range(1, 13))
    assert {entry.steps for entry in told} == {12}
    records = [entry.record for entry in told if entry.record is not None]
    assert tuple(records) == history.epochs
    assert told[-1].seconds_left == 0
    assert told[-1].epoch == 2


def test_a_loss_that_is_not_finite_ends_the_run(tiny_net, images):
    recipe = PLAIN.changed(batch_size=8, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at step \d") as caught:
        fit(tiny_net(norm=False), images, recipe.changed(epochs=5))
    assert "learning_rate" in caught.value.remedy


def test_labels_beyond_the_model(tiny_net, images):
    with pytest.raises(DataError, match="label 2, which is out of range for a model of 2 classes"):
        fit(tiny_net(classes=2), images, PLAIN)


@pytest.mark.parametrize(
    "answer", [nn.Identity(), nn.Sequential(nn.Flatten(), nn.Unflatten(1, (8, 8)))]
)
def test_a_model_that_answers_no_logits(images, answer):
    model = nn.Sequential(nn.Conv2d(1, 1, 1), answer)
    with pytest.raises(ModelOutputError, match="not scores"):
        fit(model, images, PLAIN)


def test_a_model_without_parameters(images):
    with pytest.raises(TrainingError, match="no trainable parameter"):
        fit(nn.Flatten(), images, PLAIN)


def test_nothing_to_learn_from(tiny_net, images):
    with pytest.raises(TrainingError, match="at least two samples, not 1"):
        fit(tiny_net(), images.select([0]), PLAIN)
    with pytest.raises(UsageError):
        fit(tiny_net(), images, PLAIN, stop_after_steps=0)


def test_a_missing_package_is_named(tiny_net, images, short, monkeypatch, tmp_path):
    import sys

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "accelerate", None)
        with pytest.raises(MissingBackendError, match="edgesdk\\[training\\]"):
            fit(tiny_net(), images, short)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(MissingBackendError, match="tensorboard"):
            fit(tiny_net(), images, short, logs=tmp_path)


def test_processes_that_do_not_find_each_other(tiny_net, images, short, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 1)
    with pytest.raises(TrainingError, match="2 processes were launched"):
        fit(tiny_net(), images, short)


def test_logs_can_be_read_again(tiny_net, images, short, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = fit(tiny_net(), images, short, validation=images, logs=tmp_path)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    written = events.Scalars("loss/train")
    assert [entry.step for entry in written] == [6, 12]
    assert [entry.value for entry in written] == pytest.approx(
        [record.loss for record in history.epochs]
    )
    assert {"top1/validation", "learning_rate", "speed/images_per_second"} <= set(
        events.Tags()["scalars"]
    )


def test_history_survives_json(tiny_net, images, short):
    history = fit(tiny_net(), images, short)
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history
