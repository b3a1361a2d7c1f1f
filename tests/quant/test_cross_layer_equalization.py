"""Equalization: the same function, balanced channels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from edgesdk import models
from edgesdk.errors import CaptureError, QuantizationError, UnknownNameError
from edgesdk.quant import QuantSpec, WeightQuant
from edgesdk.quant.cross_layer_equalization import equalize
from edgesdk.quant.fake_quantization.module_program import program_of
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.sensitivity import output_error


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(*layers, seed=0):
    net = nn.Sequential(*layers).eval()
    generator = seeded(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.1, 3, generator=generator)
            module.bias.data.normal_(generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            with torch.no_grad():
                module.weight.normal_(generator=generator)
                # Channels of very different size.
                module.weight *= 10 ** torch.linspace(-1, 1, len(module.weight)).reshape(
                    -1, *(1,) * (module.weight.ndim - 1)
                )
                if module.bias is not None:
                    module.bias.normal_(generator=generator)
    return net


def assert_same_function(net, other, x):
    with torch.no_grad():
        expected, found = net(x), other(x)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def test_two_linear_layers_by_hand():
    net = built(nn.Linear(1, 2, bias=True), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[8.0], [1.0]]))
        net[0].bias.copy_(torch.tensor([16.0, 3.0]))
        net[2].weight.copy_(torch.tensor([[2.0, 4.0]]))
    found = equalize(net, torch.zeros(2, 1))
    # sqrt(8 / 2) and sqrt(1 / 4): both layers then reach 4 and 2 in the two channels.
    assert found.pairs[0].factors.tolist() == [2.0, 0.5]
    assert (found.pairs[0].first, found.pairs[0].second) == ("0", "2")
    assert found.model[0].weight.tolist() == [[4.0], [2.0]]
    assert found.model[0].bias.tolist() == [8.0, 6.0]
    assert found.model[2].weight.tolist() == [[4.0, 2.0]]
    # The model that was given is as it was.
    assert net[0].weight.tolist() == [[8.0], [1.0]]


@pytest.mark.parametrize(
    "layers",
    [
        lambda: (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3)),
        lambda: (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8)),
        lambda: (nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 1, groups=2)),
        lambda: (nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.ConvTranspose2d(4, 6, 2, groups=2)),
        lambda: (nn.ConvTranspose2d(3, 4, 2, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)),
        lambda: (
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.ZeroPad2d(1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(4, 2),
        ),
    ],
    ids=["norm", "depthwise", "grouped", "into-transposed", "transposed", "pooled"],
)
def test_the_function_stays_and_the_channels_are_balanced(layers):
    net = built(*layers())
    x = torch.randn(2, 3, 8, 8, generator=seeded(1))
    found = equalize(net, x)
    assert len(found.pairs) == 1
    assert not found.skipped
    assert_same_function(net, found.model, x)
    assert float(found.pairs[0].factors.log().abs().max()) > 0.3
    again = equalize(found.model, x)
    torch.testing.assert_close(
        again.pairs[0].factors, torch.ones_like(found.pairs[0].factors), atol=2e-3, rtol=0
    )
    assert list(found.model.state_dict()) == list(net.state_dict())


def test_a_chain_with_a_depthwise_layer_settles():
    net = built(
        nn.Conv2d(3, 6, 1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
    )
    x = torch.randn(2, 3, 8, 8, generator=seeded(1))
    found = equalize(net, x)
    assert [(pair.first, pair.second) for pair in found.pairs] == [("0", "3"), ("3", "6")]
    assert_same_function(net, found.model, x)
    for pair in equalize(found.model, x).pairs:
        assert float(pair.factors.log().abs().max()) < 0.02


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000), st.floats(-3, 3))
def test_any_two_convolutions(width, outputs, seed, magnitude):
    net = built(nn.Conv2d(2, width, 2), nn.ReLU(), nn.Conv2d(width, outputs, 2), seed=seed)
    with torch.no_grad():
        net[0].weight *= 10**magnitude
        net[0].bias *= 10**magnitude
    x = torch.randn(2, 2, 5, 5, generator=seeded(seed))
    assert_same_function(net, equalize(net, x).model, x)


def test_a_huge_channel_is_repaired():
    net = built(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    with torch.no_grad():
        net[0].weight[0] *= 1000
        net[0].bias[0] *= 1000
        net[2].weight[:, 0] /= 1000
    x = torch.randn(4, 3, 8, 8, generator=seeded(1))
    spec = QuantSpec("tensor8", WeightQuant(8, granularity="tensor"))
    samples = [{"input": row[None].numpy()} for row in x]

    def snr(model):
        found = SimulatedQuantization(program_of(model, x[:1]), spec)
        expected = found.answers(samples, quantized=False)
        return output_error(expected, found.answers(samples)).snr_db

    repaired = equalize(net, x).model
    assert_same_function(net, repaired, x)
    assert snr(net) < 20
    assert snr(repaired) > snr(net) + 10


def test_dead_channels_are_left_alone():
    net = built(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        net[0].weight[0] = 0
        net[2].weight[:, 1] = 0
    x = torch.randn(2, 2, 3, 3, generator=seeded(1))
    found = equalize(net, x)
    assert found.pairs[0].factors[:2].tolist() == [1.0, 1.0]
    assert_same_function(net, found.model, x)


def test_bounded_rectifiers_are_skipped_or_replaced():
    net = built(nn.Conv2d(2, 3, 1), nn.ReLU6(), nn.Conv2d(3, 2, 1))
    x = 0.1 * torch.randn(2, 2, 3, 3, generator=seeded(1))
    left = equalize(net, x)
    assert not left.pairs
    assert "upper bound" in left.skipped["0 -> 2"]
    torch.testing.assert_close(left.model(x), net(x), rtol=0, atol=0)
    replaced = equalize(net, x, bounded="replace")
    assert replaced.replaced == ("1",)
    assert isinstance(replaced.model[1], nn.ReLU)
    # These activations stay below the bound.
    with torch.no_grad():
        assert float(net[0](x).max()) < 6
    assert_same_function(net, replaced.model, x)


class Crossing(nn.Module):
    """What stands between layers and must not be crossed."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(2, 2, 1)
        self.second = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        y = self.first(x)
        if self.kind == "residual":
            return y + self.second(y.relu())
        if self.kind == "shared":
            return self.first(y.relu())
        if self.kind == "curved":
            return self.second(functional.hardswish(y))
        if self.kind == "clamped":
            return self.second(y.clamp(-1, 4))
        if self.kind == "padded":
            return self.second(functional.pad(y.relu(), (1, 1, 1, 1), value=1.0))
        return self.second(y.relu().flip(1))


@pytest.mark.parametrize("kind", ["residual", "shared", "curved", "clamped", "padded", "flipped"])
def test_where_the_function_would_change_nothing_is_done(kind):
    net = Crossing(kind).eval()
    x = torch.randn(2, 2, 4, 4, generator=seeded(1))
    found = equalize(net, x)
    assert not found.pairs
    torch.testing.assert_close(found.model(x), net(x), rtol=0, atol=0)
    if kind == "shared":
        assert "more than once" in found.skipped["first -> first"]


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3_small"])
def test_networks_of_the_zoo(name):
    net = models.create(name, num_classes=10)
    x = torch.randn(2, 3, 32, 32, generator=seeded(1))
    found = equalize(net, x)
    assert len(found.pairs) >= 9
    assert_same_function(net, found.model, x)
    assert list(found.model.state_dict()) == list(net.state_dict())


def test_bad_input():
    net = built(nn.Conv2d(2, 3, 1), nn.ReLU6(), nn.Conv2d(3, 2, 1))
    with pytest.raises(UnknownNameError, match="bounded"):
        equalize(net, torch.zeros(2, 2, 3, 3), bounded="drop")
    with pytest.raises(QuantizationError, match="no convolution"):
        equalize(nn.ReLU(), torch.zeros(2, 2))
    with pytest.raises(CaptureError):
        equalize(net, torch.zeros(2, 5, 3, 3))
