"""Bias correction: each channel's mean is what it was before rounding."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from edgesdk.errors import DataError, QuantizationError
from edgesdk.quant import QuantSpec, WeightQuant, parse_recipe
from edgesdk.quant.bias_correction import correct_bias
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


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(2, 6, 3, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, groups=6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(96, 5),
        )
        net[1].running_var.uniform_(0.5, 2)
        net[1].weight.data.uniform_(0.5, 2)
    return net.eval()


def batches(count=2, seed=1):
    # Positive inputs, as behind a rectifier: their mean is what turns rounding into a shift.
    return [torch.rand(8, 2, 8, 8, generator=seeded(seed + index)) for index in range(count)]


def test_a_linear_layer_by_hand():
    net = nn.Linear(2, 1).eval()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.4]]))
        net.bias.fill_(0.5)
    spec = QuantSpec("w2", WeightQuant(2))
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = correct_bias(net, spec, [x[:1], x[1:]])
    # Rounded to [1, 0] the layer gives 0.4 * 3 less on average.
    path = next(iter(found.shifts))
    assert found.shifts[path].tolist() == pytest.approx([-1.2])
    assert found.model.bias.tolist() == pytest.approx([1.7])
    assert found.model.weight.tolist() == net.weight.tolist()
    assert net.bias.tolist() == [0.5]


def channel_means(simulated, run, path, samples):
    group = next(one for one in simulated.groups if one.path == path)
    rows = []

    def watch(node, value):
        if node is group.before_clamp:
            rows.append(value.movedim(group.channel_axis, -1).flatten(0, -2))

    for sample in samples:
        run(sample, watch=watch)
    return torch.cat(rows).mean(0)


@pytest.mark.parametrize("recipe", ["w4_only", "w4a8", "w4a32_dynamic"])
def test_means_are_right_behind_every_layer_and_answers_nearer(recipe):
    net, data = network(), batches()
    # Whatever is clipped would hide what rounding does.
    spec = dataclasses.replace(parse_recipe(recipe), ranges="min_max")
    found = correct_bias(net, spec, data)
    assert list(found.shifts) == ["0", "3", "6"]
    assert not found.skipped
    samples = [{"input": row[None].numpy()} for batch in data for row in batch]
    calibration = samples if spec.static else ()
    before = SimulatedQuantization(program_of(net, data[0]), spec, calibration=calibration)
    after = SimulatedQuantization(program_of(found.model, data[0]), spec, ranges=before.ranges)
    expected = before.answers(samples, quantized=False)
    gained = (
        output_error(expected, after.answers(samples)).snr_db
        - output_error(expected, before.answers(samples)).snr_db
    )
    assert gained > 3
    for group in after.groups:
        # The first layer's norm is folded in the one, and stands apart in the other.
        if group.weight is None or group.path == "0":
            continue
        wanted = channel_means(before, before.run_float, group.path, samples)
        means = channel_means(after, after.run, group.path, samples)
        torch.testing.assert_close(means, wanted, atol=2e-3, rtol=1e-3)


def test_the_shift_goes_into_the_norm_behind_a_layer():
    net = network()
    found = correct_bias(net, parse_recipe("w4_only"), batches())
    shift = net[1].bias - found.model[1].bias
    torch.testing.assert_close(shift, found.shifts["0"])
    assert list(found.model.state_dict()) == list(net.state_dict())
    changed = {
        name
        for name, value in net.state_dict().items()
        if not torch.equal(value, found.model.state_dict()[name])
    }
    assert changed == {"1.bias", "3.bias", "6.bias"}


def test_layers_without_a_bias_of_their_own_are_skipped():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bare = nn.Conv2d(2, 2, 1, bias=False)
            self.twice = nn.Conv2d(2, 2, 1)
            self.kept = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return self.kept(self.twice(self.twice(self.bare(x))))

    net = Net().eval()
    spec = QuantSpec("w4", WeightQuant(4), float_layers=("kept",))
    found = correct_bias(net, spec, batches(1))
    assert not found.shifts
    assert "no bias" in found.skipped["bare"]
    assert "more than once" in found.skipped["twice"]
    assert "keeps it float" in found.skipped["kept"]
    for name, value in net.state_dict().items():
        assert torch.equal(value, found.model.state_dict()[name])


def test_progress_is_told():
    told = []
    correct_bias(
        network(), parse_recipe("w4_only"), batches(1), on_progress=lambda *at: told.append(at)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_bad_input():
    net = network()
    with pytest.raises(DataError, match="no calibration data to measure"):
        correct_bias(net, parse_recipe("w4_only"), [])
    with pytest.raises(QuantizationError, match="fp16"):
        correct_bias(net, parse_recipe("fp16"), batches(1))
    with pytest.raises(DataError, match="NaN"):
        correct_bias(net, parse_recipe("w4a8"), [torch.full((2, 2, 8, 8), torch.nan)])
    with pytest.raises(QuantizationError, match="no convolution"):
        correct_bias(nn.ReLU(), parse_recipe("w4_only"), [torch.zeros(2, 2)])
