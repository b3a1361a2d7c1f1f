"""UCP's gates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import PruningError, UsageError
from edgesdk.pruning.channel_gates import Gate, Gated, folded, gate_scores, with_gates
from edgesdk.pruning.channels import find_channels
from edgesdk.pruning.tracing import outputs_of
from edgesdk.pruning.ucp import reinitialise, ucp_ranking
from edgesdk.training import Recipe


class Images(torch.utils.data.Dataset):
    """Random pictures of two classes that differ in brightness."""

    def __init__(self, count: int, side: int = 8) -> None:
        generator = torch.Generator().manual_seed(5)
        self.labels = torch.arange(count) % 2
        noise = torch.rand(count, 3, side, side, generator=generator)
        self.images = noise + self.labels[:, None, None, None]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.images[index], int(self.labels[index])


def test_widths_and_biases_of_a_gate():
    small, large = Gate(16), Gate(40)
    assert (small.squeeze.out_features, small.squeeze.bias is not None) == (1, True)
    assert (large.squeeze.out_features, large.squeeze.bias, large.excite.bias) == (2, None, None)
    assert Gate(17).squeeze.out_features == 1


def test_zero_weights_gate_by_one_half():
    gate = Gate(24)
    for parameter in gate.parameters():
        nn.init.zeros_(parameter)
    gates = gate(torch.randn(3, 24, 5, 5))
    assert gates.shape == (3, 24)
    assert torch.equal(gates, torch.full((3, 24), 0.5))


def test_gates_by_hand():
    gate = Gate(2)
    with torch.no_grad():
        gate.squeeze.weight.copy_(torch.tensor([[1.0, -1.0]]))
        gate.squeeze.bias.fill_(0.5)
        gate.excite.weight.copy_(torch.tensor([[2.0], [-1.0]]))
        gate.excite.bias.copy_(torch.tensor([0.0, 1.0]))
    u = torch.tensor([[[[1.0, 3.0]], [[0.0, 1.0]]]])
    # means 2 and 0.5; squeezed 2 - 0.5 + 0.5 = 2; excited 4 and -1
    assert torch.allclose(gate(u), torch.sigmoid(torch.tensor([[4.0, -1.0]])))


@pytest.mark.parametrize(("place", "expected"), [("layer", "conv"), ("norm", "norm")])
def test_where_gates_stand(place, expected):
    model = models.create("resnet18", num_classes=2)
    channels = find_channels(model, torch.randn(1, 3, 32, 32))
    gated = with_gates(model, channels, place=place)
    found = [name for name, module in gated.named_modules() if isinstance(module, Gated)]
    makers = sum(len(group.producers) for group in channels.groups)
    assert len(found) == makers
    assert all(name.rpartition(".")[2] == expected for name in found)
    assert not any(isinstance(module, Gated) for module in model.modules())
    scores = gate_scores(gated, channels, Images(4, 32))
    assert {name: len(values) for name, values in scores.items()} == {
        group.name: group.width for group in channels.groups
    }


def test_a_stream_gets_the_average_over_its_layers(net):
    model = net("shared stream")
    channels = find_channels(model, torch.randn(1, 3, 8, 8))
    gated = with_gates(model, channels)
    for path, value in (("stem", 0.0), ("first.3", 1.0), ("second.2", -2.0)):
        gate = gated.get_submodule(path).gate
        nn.init.zeros_(gate.excite.weight)
        nn.init.constant_(gate.excite.bias, value)
    scores = gate_scores(gated, channels, Images(6))
    mean = torch.sigmoid(torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)).mean()
    assert torch.allclose(scores["stem"], mean.expand(12), atol=1e-7)


def test_scores_do_not_depend_on_the_batch_and_modes_stay(net):
    model = net("concat")
    channels = find_channels(model, torch.randn(1, 3, 8, 8))
    gated = with_gates(model, channels).train()
    one = gate_scores(gated, channels, Images(10), batch_size=3)
    all_at_once = gate_scores(gated, channels, Images(10), batch_size=10)
    assert gated.training
    for name, values in one.items():
        assert torch.allclose(values, all_at_once[name], atol=1e-6)
        assert bool(((values > 0) & (values < 1)).all())


def test_training_the_gates_ranks_every_channel(net):
    model = net("concat")
    channels = find_channels(model, torch.randn(1, 3, 8, 8))
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.05, optimizer="sgd")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    ranking, plain = ucp_ranking(model, channels, Images(32), recipe)
    again, _ = ucp_ranking(model, channels, Images(32), recipe)
    assert not any(isinstance(module, (Gate, Gated)) for module in plain.modules())
    assert plain.state_dict().keys() == model.state_dict().keys()
    for group in channels.groups:
        assert float(ranking[group.name].mean()) == pytest.approx(1.0)
        assert torch.equal(ranking[group.name], again[group.name])
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("place", ["layer", "norm"])
@pytest.mark.parametrize("name", ["concat", "shared stream", "grouped"])
def test_constant_gates_fold_without_a_difference(name, place, net):
    channels = find_channels(net(name), torch.randn(1, 3, 8, 8))
    gated = with_gates(net(name), channels, place=place)
    for number, module in enumerate(gated.modules()):
        if isinstance(module, Gate):
            # The gate of a channel is then the same on every image.
            nn.init.zeros_(module.excite.weight)
            module.excite.bias = nn.Parameter(
                torch.linspace(-1, 1, module.excite.out_features) + 0.01 * number
            )
    images = Images(6)
    plain = folded(gated, images)
    x = images.images[:3]
    with torch.no_grad():
        for one, other in zip(
            outputs_of(gated.eval()(x)), outputs_of(plain.eval()(x)), strict=True
        ):
            assert torch.allclose(one, other, atol=1e-5)
    assert not any(isinstance(module, Gated) for module in plain.modules())


def test_new_weights_follow_the_seed_alone(net):
    first, second, third = net("concat"), net("shared stream"), net("concat")
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    reinitialise(first, 7)
    reinitialise(second, 7)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.no_grad():
        third.left.weight.fill_(9)
    reinitialise(third, 7)
    for one, other in zip(first.parameters(), third.parameters(), strict=True):
        assert torch.equal(one, other)
    norm = first.right[1]
    assert torch.equal(norm.running_mean, torch.zeros(10)) and torch.equal(
        norm.weight, torch.ones(10)
    )


def test_wrong_use_is_refused(net):
    model = net("concat")
    channels = find_channels(model, torch.randn(1, 3, 8, 8))
    with pytest.raises(UsageError, match="place is 'middle'"):
        with_gates(model, channels, place="middle")
    with pytest.raises(PruningError, match="no images"):
        gate_scores(with_gates(model, channels), channels, Images(0))
    with pytest.raises(PruningError, match="has no gate"):
        gate_scores(model, channels, Images(2))
