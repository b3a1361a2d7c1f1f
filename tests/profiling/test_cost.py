"""Parameters, multiplications and memory: numbers that can be checked by hand or were published."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import nn
from torch.nn.utils import parametrizations

from edgesdk import models
from edgesdk.errors import InputSpecError
from edgesdk.profiling.cost import LayerCost, ModelCost, count
from edgesdk.profiling.cost_table import summary_table


def rows(cost: ModelCost) -> dict[str, LayerCost]:
    found = {row.name: row for row in cost.rows}
    assert len(found) == len(cost.rows)
    return found


class Calls(nn.Module):
    """A module around a function."""

    def __init__(self, function: Callable[..., Any], **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


@pytest.mark.parametrize(
    ("name", "side", "params", "macs"),
    [
        ("vgg19_cifar100", 32, 20_344_868, 398_444_544),
        ("resnet20", 32, 269_722, 40_551_040),
        ("resnet18", 224, 11_689_512, 1_814_073_344),
        ("resnet50", 224, 25_557_032, 4_089_184_256),
    ],
)
def test_published_networks(name: str, side: int, params: int, macs: int) -> None:
    model = models.create(name)
    cost = count(model, torch.zeros(1, 3, side, side))
    assert (cost.params, cost.macs) == (params, macs)
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())
    assert cost.memory_bytes == 4 * params
    assert (cost.params_by_bits, cost.macs_by_bits) == ({32: params}, {32: macs})


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "params", "macs"),
    [
        (nn.Conv2d(3, 8, 3, 2, 1), (3, 8, 8), "Conv2d 3x3 /2", 3 * 8 * 9 + 8, 16 * 8 * 27),
        (
            nn.Conv2d(6, 6, (3, 5), padding=(1, 2), groups=6, bias=False),
            (6, 4, 4),
            "depthwise Conv2d 3x5",
            6 * 15,
            16 * 6 * 15,
        ),
        (
            nn.Conv2d(4, 6, 3, dilation=2, groups=2),
            (4, 7, 7),
            "Conv2d 3x3 dilation 2 2 groups",
            6 * 2 * 9 + 6,
            9 * 6 * 18,
        ),
        (nn.Conv1d(2, 5, 3), (2, 10), "Conv1d 3", 2 * 5 * 3 + 5, 8 * 5 * 6),
        # Every input pixel meets the whole kernel: 5 * 5 pixels, 4 * 3 channels of each group.
        (
            nn.ConvTranspose2d(4, 6, 3, 2, groups=2),
            (4, 5, 5),
            "ConvTranspose2d 3x3 /2 2 groups",
            4 * 3 * 9 + 6,
            25 * 4 * 3 * 9,
        ),
        (nn.Linear(7, 5), (7,), "Linear", 7 * 5 + 5, 35),
        (nn.Linear(7, 5), (4, 7), "Linear", 7 * 5 + 5, 4 * 35),
        (nn.BatchNorm2d(6), (6, 2, 2), "BatchNorm2d", 12, 0),
        (nn.Embedding(9, 4), (3,), "Embedding", 36, 0),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_layers_by_hand(
    layer: nn.Module, shape: tuple[int, ...], kind: str, params: int, macs: int, batch: int
) -> None:
    inputs = torch.zeros(batch, *shape)
    if isinstance(layer, nn.Embedding):
        inputs = inputs.long()
    cost = count(Calls(lambda self, x: self.layer(x), layer=layer), inputs)
    row = rows(cost)["layer"]
    assert (row.kind, row.params, row.macs) == (kind, params, macs)
    assert row.output_shape == (1, *layer.eval()(inputs).shape[1:])
    # A captured program says the same of its operators.
    program = torch.export.export(nn.Sequential(layer).eval(), (inputs,))
    (captured,) = count(program.module(), inputs).rows
    assert (captured.name, captured.kind, captured.params, captured.macs) == (
        *("0", kind, params, macs),
    )


@pytest.mark.parametrize(
    ("function", "shape", "macs"),
    [
        (lambda self, x: torch.bmm(x, x.transpose(1, 2)), (5, 8), 5 * 8 * 5),
        (lambda self, x: torch.einsum("bij,bkj->bik", x, x), (5, 8), 5 * 8 * 5),
        (lambda self, x: F.conv2d(x, torch.ones(2, 3, 3, 3)), (3, 4, 4), 2 * 27 * 4),
        # Two heads: 2 * 5 * 5 * 8 for the scores and as much for the values.
        (lambda self, x: F.scaled_dot_product_attention(x, x, x), (2, 5, 8), 2 * 2 * 25 * 8),
        (lambda self, x: torch.mv(torch.ones(4, 6), x[0]), (6,), 4 * 6),
        (lambda self, x: torch.addmv(torch.ones(4), torch.ones(4, 6), x[0]), (6,), 4 * 6),
        (lambda self, x: torch.dot(x[0], x[0]), (6,), 6),
        (lambda self, x: torch.addbmm(torch.zeros(5, 5), x, x.mT), (5, 8), 5 * 8 * 5),
        (lambda self, x: x.relu() + 1, (5, 8), 0),
    ],
)
def test_functional_operators(
    function: Callable[..., Any], shape: tuple[int, ...], macs: int
) -> None:
    cost = count(Calls(function), torch.zeros(1, *shape))
    assert (cost.macs, cost.params, cost.size_bytes) == (macs, 0, 0)
    assert [row.name for row in cost.rows] == ([""] if macs else [])


def test_recurrent_and_attention_layers() -> None:
    x = torch.zeros(1, 6, 4)
    # Four gates from 4 inputs and 3 states, at each of 6 steps.
    assert count(nn.LSTM(4, 3, batch_first=True), x).macs == 6 * 4 * 3 * (4 + 3)
    assert count(nn.GRU(4, 3, batch_first=True), x).macs == 6 * 3 * 3 * (4 + 3)
    # In evaluation mode torch fuses this layer into one operator that tells nothing.
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    linear = 5 * (8 * 24 + 8 * 8 + 8 * 16 + 16 * 8)
    assert count(layer, torch.zeros(1, 5, 8)).macs == linear + 2 * 5 * 5 * 8
    assert torch.backends.mha.get_fastpath_enabled()


class Odd(nn.Module):
    """Does what models do: keeps state, draws numbers, follows values, returns a dictionary."""

    def __init__(self, *, follows_values: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.cache: torch.Tensor | None = None
        self.seen: list[torch.Tensor] = []
        self.follows_values = follows_values

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls += 1
        self.cache = x
        self.seen.append(x)
        x += torch.rand(4)
        if self.follows_values and float(x.sum()) > -1e9:
            x = x * 2
        return {"y": self.drop(self.layer(x))}


@pytest.mark.parametrize("follows_values", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_model_is_left_as_it_was(follows_values: bool, training: bool) -> None:
    model = Odd(follows_values=follows_values).train(training)
    model.drop.eval()
    inputs = torch.ones(2, 4)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = [dict(module._forward_hooks) for module in model.modules()]
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    cost = count(model, inputs)
    assert (cost.macs, cost.params) == (12, 15)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (model.training, model.layer.training, model.drop.training) == (training, training, 0)
    assert model.cache is None and model.seen == [] and torch.equal(inputs, torch.ones(2, 4))
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])
        assert type(value) is torch.Tensor
    assert [dict(module._forward_hooks) for module in model.modules()] == hooks
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


def test_batch_normalisation_in_training_mode_is_counted_and_kept() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    cost = count(model, torch.rand(1, 3, 1, 1))
    assert cost.macs == 12
    assert model[1].training and int(model[1].num_batches_tracked) == 0
    assert cost.size_bytes == 4 * (12 + 4 + 4 * 4) + 8


def test_shared_weights_count_once_and_work_counts_every_time() -> None:
    shared = nn.Linear(4, 4)
    tied = nn.Linear(4, 4, bias=False)
    tied.weight = shared.weight
    model = nn.Sequential(shared, shared, tied)
    cost = count(model, torch.zeros(1, 4))
    assert {name: (row.params, row.macs) for name, row in rows(cost).items()} == {
        "0": (20, 32),
        "2": (0, 16),
    }
    assert cost.size_bytes == cost.memory_bytes == 80
    captured = count(torch.export.export(model, (torch.zeros(1, 4),)).module(), torch.zeros(1, 4))
    assert (captured.params, captured.macs) == (20, 48)


def test_parametrized_weights_belong_to_their_layer() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU())
    (row,) = count(model, torch.zeros(1, 3, 5, 5)).rows
    assert (row.name, row.kind) == ("0", "Conv2d 3x3")
    assert row.params == sum(parameter.numel() for parameter in model.parameters())
    assert row.macs == 9 * 4 * 27


class BinaryConv2d(nn.Conv2d):
    """Declares the precision it is deployed with."""

    weight_bits = 1
    activation_bits = 1


def test_precision_that_a_module_declares() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        BinaryConv2d(8, 5, 3),
        nn.Flatten(),
        nn.Linear(5, 2, bias=False).half().float(),
    )
    cost = count(model, torch.zeros(1, 3, 5, 5))
    binary = rows(cost)["1"]
    assert (binary.weight_bits, binary.activation_bits, binary.mac_bits) == (1, 1, 1)
    assert binary.params_by_bits == {1: 360, 32: 5}
    # 360 bits are 45 bytes.
    assert binary.memory_bytes == 45 + 20
    assert cost.params_by_bits == {1: 360, 32: 3 * 8 * 9 + 5 + 10}
    assert cost.macs_by_bits == {1: 360, 32: 216 * 9 + 10}
    assert cost.memory_bytes == 45 + 4 * 231
    assert cost.size_bytes == 4 * (360 + 231)
    half = count(nn.Linear(3, 3).half(), torch.zeros(1, 3).half())
    assert (half.params_by_bits, half.macs_by_bits) == ({16: 12}, {16: 9})
    odd = BinaryConv2d(1, 3, 1, bias=False)
    assert count(odd, torch.zeros(1, 1, 1, 1)).memory_bytes == 1
    odd.weight_bits = 0
    assert count(odd, torch.zeros(1, 1, 1, 1)).memory_bytes == 12


def test_no_memory_is_taken_for_activations() -> None:
    # The output alone would have 230 GB.
    large = torch.zeros(1).expand(1, 3, 30_000, 30_000)
    assert count(nn.Conv2d(3, 64, 3, padding=1), large).macs == 30_000**2 * 64 * 27


def test_inputs_in_every_form() -> None:
    model = Calls(lambda self, x, y: self.layer(torch.cat((x, y), 1)), layer=nn.Linear(5, 2))
    assert count(model, (torch.zeros(2, 2), torch.zeros(2, 3))).macs == 10
    named = models.create("two_stream")
    frame, flow = torch.zeros(1, 3, 64, 64), torch.zeros(1, 2, 64, 64)
    by_name = count(named, {"flow": flow, "frame": frame})
    assert by_name == count(named, (frame, flow))
    assert by_name.macs > 0


def test_layers_that_never_run_are_listed() -> None:
    model = Calls(lambda self, x: self.used(x), used=nn.Linear(4, 2), unused=nn.Linear(4, 3))
    unused = count(model, torch.zeros(1, 4)).rows[-1]
    assert (unused.name, unused.params, unused.macs, unused.output_shape) == ("unused", 15, 0, ())


def test_a_compiled_model_is_not_compiled_for_it() -> None:
    model = torch.compile(nn.Sequential(nn.Linear(4, 2)))
    cost = count(model, torch.zeros(1, 4))
    assert [row.name for row in cost.rows] == ["_orig_mod.0"]
    assert (cost.params, cost.macs) == (10, 8)


def test_a_scripted_model_is_counted_as_a_whole() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 2), nn.ReLU()).eval())
    cost = count(scripted, torch.zeros(1, 4))
    assert (cost.params, cost.macs) == (10, 8)


@pytest.mark.parametrize("inputs", [5, None, "x", (), {}, (3,), [[1, 2]]])
def test_inputs_that_are_none(inputs: Any) -> None:
    with pytest.raises(InputSpecError):
        count(nn.Linear(2, 2), inputs)


def test_inputs_that_do_not_fit() -> None:
    model = nn.Linear(4, 2).train()
    with pytest.raises(InputSpecError, match="fails on the inputs"):
        count(model, torch.zeros(1, 5))
    assert model.training


@settings(max_examples=15, deadline=None)
@given(
    *(st.integers(1, 3) for _ in range(4)),
    st.integers(5, 9),
    st.integers(1, 3),
    st.booleans(),
)
def test_any_convolution(
    groups: int, into: int, out: int, stride: int, side: int, kernel: int, bias: bool
) -> None:
    layer = nn.Conv2d(groups * into, groups * out, kernel, stride, groups=groups, bias=bias)
    (row,) = count(layer, torch.zeros(2, groups * into, side, side)).rows
    place = (side - kernel) // stride + 1
    assert row.output_shape == (1, groups * out, place, place)
    assert row.macs == place**2 * groups * out * into * kernel**2
    assert row.params == groups * out * into * kernel**2 + groups * out * bias


def test_plain_json_adds_up() -> None:
    cost = count(models.create("mobilenet_v3_small"), torch.zeros(1, 3, 64, 64))
    plain = cost.to_dict()
    assert sum(layer["macs"] for layer in plain["layers"]) == plain["macs"] == cost.macs
    assert sum(layer["params"] for layer in plain["layers"]) == plain["params"]
    assert plain["macs_by_bits"] == {"32": cost.macs}


def test_the_table_has_a_column_for_each_precision() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), BinaryConv2d(8, 5, 3))
    cost = count(model, torch.zeros(1, 3, 5, 5))
    stream = io.StringIO()
    Console(file=stream, width=100).print(summary_table(cost))
    lines = stream.getvalue().splitlines()
    assert lines[0].split() == ["params", "params", "MACs", "MACs", "memory"]
    assert lines[1].split()[3:] == ["1-bit", "32-bit", "1-bit", "32-bit", "kB"]
    assert lines[2].split() == [
        "0",
        "Conv2d",
        "3x3",
        "1x8x3x3",
        *["–", "224", "–", "1,944", "0.90"],
    ]
    assert lines[3].split()[-5:] == ["360", "5", "360", "–", "0.07"]
    assert lines[-1].split() == ["total", "360", "229", "360", "1,944", "0.96"]
    # Names come from other people's models.
    plain = nn.Sequential()
    plain.add_module("[red]x[/]", nn.Linear(2, 2))
    stream = io.StringIO()
    Console(file=stream, width=100).print(summary_table(count(plain, torch.zeros(1, 2))))
    assert "[red]x[/]" in stream.getvalue()
