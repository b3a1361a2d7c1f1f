"""Groups of channels: found, proven, and left alone with a reason."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from edgesdk import models
from edgesdk.errors import PruningError, UnknownNameError
from edgesdk.pruning.channels import find_channels
from edgesdk.pruning.surgery import masked_copy, merge, pruned_copy
from edgesdk.pruning.tracing import call, outputs_of


def random_kept(channels, seed=0):
    """About half of every group, blocks alike."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for group in channels.groups:
        length = group.width // group.blocks
        kept[group.name] = sorted(
            block * length + int(channel)
            for block in range(group.blocks)
            for channel in torch.randperm(length, generator=generator)[: max(1, length // 2)]
        )
    return kept


def largest_difference(model, inputs, channels) -> float:
    drops = channels.drops(random_kept(channels))
    with torch.no_grad():
        silent = outputs_of(call(masked_copy(model, drops), inputs))
        pruned = outputs_of(call(pruned_copy(model, drops), inputs))
        whole = outputs_of(call(model, inputs))
    assert [value.shape for value in silent] == [value.shape for value in pruned]
    # What was silenced must matter, or the comparison says nothing.
    assert any(not torch.allclose(a, b) for a, b in zip(silent, whole, strict=True))
    return max(
        float((a - b).abs().max() / c.abs().max())
        for a, b, c in zip(silent, pruned, whole, strict=True)
    )


@pytest.mark.parametrize("name", ["concat", "shared stream", "depthwise", "grouped"])
def test_masked_original_equals_pruned_user_net(name, net, picture):
    model = net(name)
    channels = find_channels(model, picture)
    assert largest_difference(model, picture, channels) <= 1e-5


ZOO = {
    "efficientnet_lite0": 64,
    "googlenet": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_large": 64,
    "mobilenet_v3_small": 64,
    "resnet110": 32,
    "resnet18": 64,
    "resnet20": 32,
    "resnet32": 32,
    "resnet34": 64,
    "resnet50": 64,
    "resnet56": 32,
    "vgg16": 32,
    "vgg19_cifar100": 32,
}
QUICK = ("mobilenet_v3_small", "resnet18", "resnet20", "vgg16")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ZOO]
)
def test_masked_original_equals_pruned_zoo_net(name):
    config = {"pretrained": False} if name == "efficientnet_lite0" else {}
    model = models.create(name, **config)
    side = ZOO[name]
    channels_in = model.config["in_channels"]
    picture = torch.randn(2, channels_in, side, side, generator=torch.Generator().manual_seed(1))
    channels = find_channels(model, picture)
    assert len(channels.groups) >= 8
    assert largest_difference(model, picture, channels) <= 1e-5


def test_groups_of_the_shared_stream(net, picture):
    model = net("shared stream")
    channels = find_channels(model, picture)
    stream = channels.group("stem")
    assert [member.layer for member in stream.producers] == ["stem", "first.3", "second.2"]
    assert {member.layer for member in stream.consumers} == {"first.0", "second.0", "near", "far"}
    assert channels.group("first.3") is stream
    assert [(group.name, group.width) for group in channels.groups] == [
        ("stem", 12),
        ("first.0", 20),
        ("second.0", 7),
    ]
    assert {entry.name for entry in channels.left_alone} == {"near", "far"}
    assert all("output" in entry.reason for entry in channels.left_alone)


def test_flattened_channels_become_as_many_features(net, picture):
    model = net("depthwise")
    [project] = [g for g in find_channels(model, picture).groups if g.name == "project"]
    [head] = project.consumers
    assert head.layer == "head"
    assert head.positions[2] == tuple(range(32, 48))


def test_groups_of_a_convolution_lose_as_many_each(net, picture):
    model = net("grouped")
    channels = find_channels(model, picture)
    blocks = {group.name: group.blocks for group in channels.groups}
    assert blocks == {"first": 4, "grouped": 4, "up": 1}
    assert largest_difference(model, picture, channels) <= 1e-5
    pruned = pruned_copy(model, channels.drops(random_kept(channels)))
    assert (pruned.grouped.in_channels, pruned.grouped.out_channels, pruned.grouped.groups) == (
        8,
        12,
        4,
    )
    with pytest.raises(PruningError, match="unequal"):
        pruned_copy(model, channels.group("first").drops([0]))


class Shuffled(nn.Module):
    """Channels are re-ordered between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 8, 1)
        self.third = nn.Conv2d(8, 6, 1)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = torch.relu(self.first(x))
        n, c, h, w = x.shape
        x = x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = torch.softmax(self.second(x), 1)
        return self.last(torch.relu(self.third(x)))


def test_what_cannot_be_followed_is_left_alone_with_a_reason(picture):
    with torch.random.fork_rng():
        # Other weights may make every ReLU in front of the output zero, which hides the shuffling.
        torch.manual_seed(0)
        model = Shuffled().eval()
    channels = find_channels(model, picture)
    assert [group.name for group in channels.groups] == ["third"]
    reasons = {entry.name: entry.reason for entry in channels.left_alone}
    assert set(reasons) == {"first", "second", "last"}
    assert all(reasons.values())


class WithLayerNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.norm = nn.LayerNorm(8)
        self.second = nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, x):
        return self.last(torch.relu(self.second(self.norm(self.first(x)))))


def test_layer_normalisation_is_named_as_the_reason():
    channels = find_channels(WithLayerNorm().eval(), torch.randn(2, 3))
    [first] = [entry for entry in channels.left_alone if entry.name == "first"]
    assert "norm (LayerNorm)" in first.reason
    assert [group.name for group in channels.groups] == ["second"]


def test_protected_layers_keep_their_channels(net, picture):
    model = net("shared stream")
    channels = find_channels(model, picture, protect=["first"])
    assert [group.name for group in channels.groups] == ["second.0"]
    reasons = {entry.name: entry.reason for entry in channels.left_alone}
    assert reasons["stem"] == "first.3 is protected"
    with pytest.raises(UnknownNameError, match=r"did you mean 'first'"):
        find_channels(model, picture, protect=["frist"])


def test_hooks_of_the_user_are_noted_and_stay(net, picture):
    model = net("concat")
    calls = []
    model.left.register_forward_hook(lambda *given: calls.append(1) or torch.zeros(2, 6, 4, 4))
    channels = find_channels(model, picture)
    assert channels.notes == ("hooks on left are not copied",)
    assert len(channels.groups) == 3
    assert calls == []
    assert len(model.left._forward_hooks) == 1


def test_parametrised_weights_are_refused(net, picture):
    model = net("concat")
    parametrizations.weight_norm(model.join)
    with pytest.raises(PruningError, match="join are parametrised"):
        find_channels(model, picture)


def test_a_model_without_prunable_layers_says_so():
    with pytest.raises(PruningError, match="no layer of Linear can be pruned"):
        find_channels(nn.Linear(3, 2).eval(), torch.randn(1, 3))
    with pytest.raises(PruningError, match=r"can(not)? be"):
        find_channels(nn.ReLU(), torch.randn(1, 3))


def test_the_model_is_left_as_it_was(net, picture):
    model = net("concat")
    model.right.train()
    model.left.weight.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    find_channels(model, picture)
    assert model.right.training and not model.left.training
    assert not model.left.weight.requires_grad
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_layer_that_is_called_twice_is_left_alone(picture):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.again = nn.Conv2d(4, 4, 1)
            self.other = nn.Conv2d(4, 6, 1)
            self.last = nn.Conv2d(6, 2, 1)

        def forward(self, x):
            x = torch.relu(self.first(x))
            x = torch.relu(self.again(torch.relu(self.again(x))))
            return self.last(torch.relu(self.other(x)))

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = Twice().eval()
    channels = find_channels(model, picture)
    assert "other" in [group.name for group in channels.groups]
    assert largest_difference(model, picture, channels) <= 1e-5


def test_all_drops_of_a_layer_are_refused(net, picture):
    model = net("concat")
    channels = find_channels(model, picture)
    everything = merge([channels.group("left").drops(range(6))])
    with pytest.raises(PruningError, match="left would lose all its 6 channels"):
        pruned_copy(model, everything)
