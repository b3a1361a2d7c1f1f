"""Models that change their buffers or inputs, or draw random numbers."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgesdk.errors import CaptureError
from edgesdk.frontend.capture import Capture, capture, run_eager
from edgesdk.frontend.side_effects import (
    changed_inputs,
    copied,
    generators_kept,
    require_no_state,
    state_kept,
)
from edgesdk.frontend.signature import FlatModel
from edgesdk.spec import TensorSpec

SHAPE = (2, 3, 8, 8)


def captured(model: nn.Module) -> Capture:
    return capture(model.eval(), [TensorSpec("x", SHAPE)], [torch.rand(SHAPE)])


def line(text: str) -> str:
    lines = Path(__file__).read_text("utf-8").splitlines()
    number = next(i for i, row in enumerate(lines, 1) if row.endswith(f"# {text}"))
    return f"test_side_effects.py:{number}"


class Running(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1  # counted
        self.mean = 0.9 * self.mean + 0.1 * x.mean()
        return x - self.mean


class WritesInPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).div_(0.25)
        return x.relu()


class WritesThroughAView(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x[:, :2] *= 0.5
        return x + 1


def test_changed_buffers_are_named_with_their_line() -> None:
    with pytest.raises(CaptureError, match=r"buffers 'count', 'mean'.*no state") as raised:
        captured(Running())
    assert line("counted") in (raised.value.where or "")
    assert "input of forward()" in (raised.value.remedy or "")


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: x + torch.randn_like(x), "aten.randn_like"),
        (lambda x: x * torch.bernoulli(x.sigmoid()), "aten.bernoulli"),
        (lambda x: x * torch.rand(8), "aten.rand"),
    ],
)
def test_random_draws_are_named(function, operator: str) -> None:
    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)  # drawn

    with pytest.raises(CaptureError, match=f"random numbers.*{operator}") as raised:
        captured(Noise())
    assert "test_side_effects.py" in (raised.value.where or "")


def test_what_draws_in_training_only_is_captured() -> None:
    class Quiet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.drop(self.norm(x)).flatten(2)
            return functional.scaled_dot_product_attention(y, y, y)

    assert captured(Quiet()).program.graph_signature.user_outputs


@pytest.mark.parametrize("network", [WritesInPlace, WritesThroughAView])
def test_a_model_that_writes_into_its_input_gets_a_copy(network: type[nn.Module]) -> None:
    found = captured(network())
    assert changed_inputs(found.program) == ()
    given = torch.rand(SHAPE)
    before = given.clone()
    answer = found.program.module()(given)
    assert torch.equal(given, before)
    output = next(iter(answer.values())) if isinstance(answer, dict) else answer
    assert torch.equal(output, network()(before.clone()))


class WritesIntoAChunk(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first, _ = x.chunk(2, 2)
        first *= 0.5
        return x + 1


def test_changed_inputs_are_found_through_views() -> None:
    for network in (WritesInPlace(), WritesThroughAView(), WritesIntoAChunk()):
        program = torch.export.export(network, (torch.rand(SHAPE),), strict=False)
        assert changed_inputs(program) == ("x",)
    assert changed_inputs(torch.export.export(nn.ReLU(), (torch.rand(2),), strict=False)) == ()


def test_eager_runs_change_neither_samples_nor_state_nor_generator() -> None:
    model = Running()
    flat = FlatModel(model, ["x"])
    arrays = {"x": np.random.default_rng(0).random(SHAPE, dtype=np.float32)}
    before = arrays["x"].copy()
    torch.manual_seed(1)
    first, second = run_eager(flat, arrays), run_eager(flat, arrays)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    assert np.array_equal(first["output"], second["output"])
    assert int(model.count) == 0 and float(model.mean) == 0
    run_eager(FlatModel(WritesInPlace(), ["x"]), arrays)
    assert np.array_equal(arrays["x"], before)


def test_state_is_restored_after_an_error() -> None:
    model = Running()
    with pytest.raises(RuntimeError), state_kept(model):
        model(torch.ones(SHAPE))
        raise RuntimeError
    assert int(model.count) == 0 and float(model.mean) == 0
    assert set(dict(model.named_buffers())) == {"mean", "count"}


class Draws(nn.Module):
    """Draws from every kind of generator, and counts in plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.own = torch.Generator().manual_seed(3)
        self.numbers, self.python = np.random.default_rng(4), random.Random(5)
        self.calls, self.history = 0, [0.0]

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.history.append(float(x.sum()))
        own = torch.rand(1, generator=self.own)
        plain = random.random() + np.random.rand() + self.python.random() + self.numbers.random()
        return x + torch.rand(1) + own + plain


def test_every_generator_and_attribute_is_restored() -> None:
    model, x = Draws(), torch.zeros(1)
    with state_kept(model):
        first = model(x)
    with state_kept(model):
        second = model(x)
    assert torch.equal(first, second)
    assert model.calls == 0 and model.history == [0.0]
    with generators_kept():
        drawn = torch.rand(1), np.random.rand(), random.random()
    assert drawn == (torch.rand(1), np.random.rand(), random.random())


def test_copies_of_nested_inputs_share_no_memory() -> None:
    given = ([torch.zeros(2)], {"size": 3, "mask": torch.ones(2)})
    found = copied(given)
    found[0][0] += 1
    found[1]["mask"] += 1
    assert given[0][0].tolist() == [0, 0] and given[1]["mask"].tolist() == [1, 1]
    assert found[1]["size"] == 3


class CachedTable(nn.Module):
    """Makes its table of positions at the first call, as rotary embeddings do."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(8), persistent=False)
        self.in_place, self.ready = in_place, False

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            table = torch.arange(8, dtype=x.dtype)
            if self.in_place:
                self.table.copy_(table)
            else:
                self.table = table
            self.ready = True
        return x + self.table


@pytest.mark.parametrize("in_place", [False, True])
def test_a_cache_that_the_first_call_fills_is_no_state(in_place: bool) -> None:
    model = CachedTable(in_place)
    found = captured(model)
    x = torch.rand(SHAPE)
    wanted = x + torch.arange(8)
    assert torch.equal(next(iter(found.program.module()(x).values())), wanted)
    assert np.array_equal(run_eager(found.flat_model, {"x": x.numpy()})["output"], wanted.numpy())


class Difference(nn.Module):
    """Answers the difference to the frame before: it only assigns, and settles on one input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("before", torch.zeros(SHAPE))

    def forward(self, x: Tensor) -> Tensor:
        y = x - self.before
        self.before = x.clone()
        return y


def test_state_that_settles_on_one_input_is_found_by_the_outputs() -> None:
    model = Difference()
    with pytest.raises(CaptureError, match=r"buffer 'before'"):
        captured(model)
    assert not model.before.any()


def test_a_buffer_of_nan_is_not_a_changed_one() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.tensor([float("nan")] * 4 + [0.0] * 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.where(self.mask.isnan(), x, -x)

    assert captured(Masked()).outputs


def test_many_changed_buffers_are_counted() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for index in range(7):
                self.register_buffer(f"b{index}", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for buffer in self.buffers():
                buffer.add_(x.mean())
            return x + sum(self.buffers())

    program = torch.export.export(Keeps(), (torch.ones(2),), strict=False)
    with pytest.raises(CaptureError, match=r"buffers 'b0', 'b1', 'b2', 'b3' and 3 more, and"):
        require_no_state(program)
