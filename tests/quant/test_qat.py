"""Training under quantization: what is computed, what is learnt, what is left behind."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgesdk import models
from edgesdk.errors import (
    CaptureError,
    DataError,
    InputSpecError,
    QuantizationError,
    TrainingError,
    UnknownNameError,
    UnsupportedRecipeError,
)
from edgesdk.quant import RECIPES, ActivationQuant, QuantSpec, WeightQuant, parse_recipe
from edgesdk.quant.fake_quantization.fake_quantize import fake_quantize_weight
from edgesdk.quant.fake_quantization.module_program import program_of
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.learned_ranges import LearnedRanges
from edgesdk.quant.qat import finish_qat, prepare_qat
from edgesdk.quant.trainable import trainable_recipes
from edgesdk.training import LabelledImages, Recipe, evaluate, fit


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Net(nn.Module):
    """Convolutions with normalisation, a residual, dropout and a linear layer."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU()
        )
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        x = functional.relu(x + self.body(x))
        return self.head(self.dropout(x.mean((2, 3))))


def built(kind=Net, **options):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return kind(**options)


EXAMPLE = torch.zeros(2, 1, 8, 8)
W2A8 = QuantSpec("w2a8", WeightQuant(2), ActivationQuant(8))
RECIPE = Recipe(
    epochs=3,
    batch_size=16,
    optimizer="sgd",
    learning_rate=0.1,
    schedule="cosine",
    warmup_epochs=0.5,
    ema_decay=0.9,
    augmentation={"flip": 0.5, "crop": 1},
    seed=3,
)


def textures(count, seed=0):
    """Classes are textures: vertical, horizontal and diagonal stripes, in noise, at any phase."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    rows, columns = np.mgrid[:8, :8]
    waves = np.stack([columns, rows, rows + columns])[labels] + generator.integers(
        0, 4, (count, 1, 1)
    )
    images = 128 + 70 * np.sin(waves * np.pi / 2) + generator.normal(0, 45, (count, 8, 8))
    return LabelledImages(
        torch.from_numpy(images.clip(0, 255).astype(np.uint8))[:, None],
        torch.from_numpy(labels),
        ("a", "b", "c"),
    )


def as_bytes(model):
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def learnt(prepared, steps=4, seed=0, rate=0.05):
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(prepared.parameters(), rate)
    prepared.train()
    for _ in range(steps):
        x = torch.randn(8, 1, 8, 8, generator=generator)
        loss = functional.cross_entropy(prepared(x), torch.arange(8) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prepared


# ---- what is computed --------------------------------------------------------------------------


def test_a_step_by_hand():
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.4]]))
        net.bias.zero_()
    spec = QuantSpec("w2", WeightQuant(2))
    prepared = prepare_qat(net, spec, torch.zeros(2, 2))
    answer = prepared(torch.tensor([[2.0, 3.0]]))
    # The weights are rounded to [1, 0], and learn as if they were not.
    assert answer.tolist() == [[2.0]]
    answer.sum().backward()
    assert net.weight.grad.tolist() == [[2.0, 3.0]]


def test_ranges_by_hand():
    ranges = LearnedRanges(["a"], 8, "moving_average")
    values = torch.tensor([[-1.0, 3.0], [-3.0, 5.0]])
    assert torch.equal(ranges.round("a", values), values)
    ranges.observe("a", values)
    assert ranges.ranges() == {"a": (-2.0, 4.0)}
    ranges.observe("a", values - 2)
    assert ranges.ranges() == {"a": (-3.0, 3.0)}
    whole = LearnedRanges(["a"], 8, "min_max")
    whole.observe("a", values)
    assert whole.ranges() == {"a": (-3.0, 5.0)}
    for _ in range(40):
        whole.observe("a", torch.zeros(2, 2))
    before = whole.ranges()["a"][1]
    whole.observe("a", torch.full((2, 2), 20.0))
    assert whole.ranges()["a"][1] == pytest.approx(before + 0.05 * (20 - before))


def test_rounding_in_a_learnt_range_clips_and_stops_the_gradient():
    ranges = LearnedRanges(["a"], 8, "min_max")
    ranges.observe("a", torch.tensor([-1.0, 254.0]))
    values = torch.tensor([-9.0, 0.4, 3.6, 900.0], requires_grad=True)
    found = ranges.round("a", values)
    assert found.tolist() == [-1.0, 0.0, 4.0, 254.0]
    found.sum().backward()
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("low, high", [(-1.0, 2.5), (0.0, 3.0), (-2.0, 0.0), (0.5, 1.0), (0, 0)])
def test_a_learnt_range_rounds_as_a_calibrated_one(bits, low, high):
    from edgesdk.quant.fake_quantization.fake_quantize import fake_quantize_static

    ranges = LearnedRanges(["a"], bits, "min_max")
    ranges.observe("a", torch.tensor([low, high]))
    values = torch.linspace(-3, 3, 101)
    wanted = fake_quantize_static(values, *ranges.ranges()["a"], bits=bits, symmetric=bits > 8)
    torch.testing.assert_close(ranges.round("a", values), wanted)


@pytest.mark.parametrize(
    "spec",
    [
        *(parse_recipe(name) for name in trainable_recipes()),
        QuantSpec("tensor4", WeightQuant(4, granularity="tensor"), ActivationQuant(8)),
    ],
    ids=lambda spec: spec.name,
)
def test_the_trained_model_quantized_computes_what_was_trained(spec):
    net = built()
    names = list(net.state_dict())
    prepared = learnt(prepare_qat(net, spec, EXAMPLE, freeze_after=2)).eval()
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        trained = prepared(x).numpy()
    result = finish_qat(prepared)
    assert result.model is net
    assert not net.training
    assert list(net.state_dict()) == names
    with torch.no_grad():
        as_float = net(x).numpy()
    found = SimulatedQuantization(program_of(net, EXAMPLE), spec, ranges=result.ranges)
    quantized = found.run({"x": x.numpy()})["output"]
    # Folding changes the last bit of a weight; one that lies between two integers may then go to
    # the other one, and a step of an activation is what that makes at most.
    scale = np.abs(trained).max()
    assert np.abs(quantized - trained).max() < 0.03 * scale
    assert np.abs(quantized - trained).mean() < 0.2 * np.abs(as_float - trained).mean() + 1e-6
    assert bool(result.ranges) == spec.static


def test_without_dropout_and_rounding_it_is_the_model_itself():
    # With so many bits rounding is hardly there: gradients and statistics must be the model's.
    spec = QuantSpec("fine", WeightQuant(8, granularity="block", block=1), ActivationQuant(16))
    net, other = built(), built()
    prepared = prepare_qat(net, dataclasses.replace(spec, ranges="min_max"), EXAMPLE)
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    prepared.train()
    other.train()
    for model in (prepared, other):
        functional.cross_entropy(model(x), torch.arange(8) % 3).backward()
    for (name, own), wanted in zip(net.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(own.grad, wanted.grad, rtol=0.1, atol=0.02, msg=name)
    for (name, own), wanted in zip(net.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(own, wanted, rtol=0.02, atol=0.01, msg=name)
    assert int(net.stem[1].num_batches_tracked) == 1


def test_statistics_freeze_after_their_share_and_ranges_do_not():
    net = built()
    prepared = learnt(prepare_qat(net, W2A8, EXAMPLE, freeze_after=2), steps=2)
    assert not prepared.frozen
    before = {name: value.clone() for name, value in net.named_buffers()}
    ranges = prepared.ranges()
    learnt(prepared, steps=2, seed=5)
    assert prepared.frozen
    assert prepared.steps == 4
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    assert prepared.ranges() != ranges


def test_evaluation_learns_nothing():
    prepared = learnt(prepare_qat(built(), W2A8, EXAMPLE)).eval()
    before = copy.deepcopy(prepared.state_dict())
    with torch.no_grad():
        prepared(100 * torch.randn(4, 1, 8, 8))
    for name, value in prepared.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_dropout_follows_the_mode():
    prepared = prepare_qat(built(dropout=0.9), parse_recipe("w8_only"), EXAMPLE)
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        prepared.eval()
        assert torch.equal(prepared(x), prepared(x))
        prepared.train()
        assert not torch.equal(prepared(x), prepared(x))


def test_layers_that_stay_float():
    spec = QuantSpec("w2", WeightQuant(2), float_layers=("body", "head"))
    net = built().eval()
    prepared = prepare_qat(net, spec, EXAMPLE).eval()
    assert [group.path for group in prepared.chosen if group.weight is not None] == ["stem.0"]
    rounded = copy.deepcopy(net)
    with torch.no_grad():
        rounded.stem[0].weight.copy_(fake_quantize_weight(net.stem[0].weight, WeightQuant(2)))
        x = torch.randn(4, 1, 8, 8)
        torch.testing.assert_close(prepared(x), rounded(x))


def test_a_gain_of_zero_is_trained_without_nan():
    net = built()
    with torch.no_grad():
        net.body[1].weight.zero_()
    spec = QuantSpec("tensor4", WeightQuant(4, granularity="tensor"), ActivationQuant(8))
    prepared = learnt(prepare_qat(net, spec, EXAMPLE))
    assert all(bool(torch.isfinite(value).all()) for value in prepared.state_dict().values())
    assert net.body[1].weight.abs().max() > 0


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2", "mobilenet_v3_small"])
def test_networks_of_the_zoo(name):
    net = models.create(name, num_classes=3)
    names = list(net.state_dict())
    spec = parse_recipe("w8a8_static")
    example = torch.zeros(2, 3, 32, 32)
    prepared = prepare_qat(net, spec, example, freeze_after=1).train()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(prepared.parameters(), 1e-3)
    for _ in range(2):
        x = torch.randn(4, 3, 32, 32, generator=generator)
        loss = functional.cross_entropy(prepared(x), torch.arange(4) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    without = [key for key, value in prepared.named_parameters() if value.grad is None]
    assert not without
    with torch.no_grad():
        trained = prepared.eval()(x).numpy()
    result = finish_qat(prepared)
    assert list(result.model.state_dict()) == names
    found = SimulatedQuantization(program_of(net, example), spec, ranges=result.ranges)
    quantized = found.run({found.inputs[0]: x.numpy()})["output"]
    cosine = np.vdot(quantized, trained) / np.linalg.norm(quantized) / np.linalg.norm(trained)
    assert cosine > 0.99


# ---- with the loop -----------------------------------------------------------------------------


def test_training_for_two_bits_beats_rounding_to_two_bits():
    train, test = textures(180), textures(300, seed=1)
    net = built()
    recipe = RECIPE.changed(epochs=6, augmentation={"flip": 0, "crop": 0}, ema_decay=0)
    norm = {"mean": [0.5], "std": [0.3]}
    fit(net, train, recipe, **norm)
    as_float = evaluate(net, test, **norm).top1
    samples = [
        {"x": ((train[index][0][None].float() / 255 - 0.5) / 0.3).numpy()} for index in range(64)
    ]

    def quantized(model):
        """Of the model as a target would quantize it, with ranges from calibration."""
        found = SimulatedQuantization(program_of(model, EXAMPLE), W2A8, calibration=samples)

        class Simulated(nn.Module):
            def forward(self, x):
                return torch.from_numpy(found.run({"x": x.numpy()})["output"])

        return evaluate(Simulated(), test, **norm).top1

    rounded = quantized(net)
    prepared = prepare_qat(copy.deepcopy(net), W2A8, EXAMPLE, freeze_after=36)
    fit(prepared, train, recipe.changed(learning_rate=0.05), **norm)
    seen = evaluate(prepared, test, **norm).top1
    trained = quantized(finish_qat(prepared).model)
    assert as_float > 0.95
    assert trained > rounded + 0.1
    assert trained > as_float - 0.05
    assert seen == pytest.approx(trained, abs=0.03)


@pytest.mark.parametrize("stops", [(1,), (4, 3)])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, stops):
    train = textures(48)

    def prepared():
        return prepare_qat(built(dropout=0.3), W2A8, EXAMPLE, freeze_after=5)

    whole = prepared()
    history = fit(whole, train, RECIPE, validation=train)
    assert history.steps == 9
    for steps in stops:
        part = prepared()
        fit(
            part,
            train,
            RECIPE,
            validation=train,
            checkpoint=tmp_path,
            stop_after_steps=steps,
        )
    part = prepared()
    history = fit(part, train, RECIPE, validation=train, checkpoint=tmp_path)
    assert history.resumed_at == sum(stops)
    assert part.steps == whole.steps
    assert as_bytes(part) == as_bytes(whole)
    assert part.ranges() == whole.ranges()
    assert as_bytes(finish_qat(part).model) == as_bytes(finish_qat(whole).model)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    train = textures(48)
    fit(prepare_qat(built(), W2A8, EXAMPLE), train, RECIPE, checkpoint=tmp_path, stop_after_steps=1)
    for other in (prepare_qat(built(), parse_recipe("w8a8_static"), EXAMPLE), built()):
        with pytest.raises(TrainingError, match="another model"):
            fit(other, train, RECIPE, checkpoint=tmp_path)


# ---- bad input ---------------------------------------------------------------------------------


def test_recipes_that_can_be_trained():
    assert trainable_recipes() == tuple(
        name for name in RECIPES if name != "fp16" and not name.startswith("palette")
    )


@pytest.mark.parametrize("recipe", ["fp16", "palette4"])
def test_recipes_without_integers(recipe):
    with pytest.raises(UnsupportedRecipeError, match="w8a8_static"):
        prepare_qat(built(), parse_recipe(recipe), EXAMPLE)


def test_no_layer_to_quantize():
    class Empty(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x * self.gain

    with pytest.raises(QuantizationError, match="no convolution"):
        prepare_qat(Empty(), W2A8, EXAMPLE)
    everything = dataclasses.replace(W2A8, float_layers=("stem", "body", "head"))
    with pytest.raises(QuantizationError, match="no convolution"):
        prepare_qat(built(), everything, EXAMPLE)


def test_no_data():
    with pytest.raises(DataError, match="not trained"):
        finish_qat(prepare_qat(built(), W2A8, EXAMPLE))
    with pytest.raises(TrainingError, match="at least two samples"):
        fit(prepare_qat(built(), W2A8, EXAMPLE), [], RECIPE)


def test_what_does_not_fit():
    with pytest.raises(UnknownNameError, match="layer"):
        prepare_qat(built(), dataclasses.replace(W2A8, float_layers=("nowhere",)), EXAMPLE)
    with pytest.raises(CaptureError):
        prepare_qat(built(), W2A8, torch.zeros(2, 5, 8, 8))
    prepared = prepare_qat(built(), W2A8, EXAMPLE)
    with pytest.raises(InputSpecError, match="1 tensors, 2"):
        prepared(EXAMPLE, EXAMPLE)
