"""Which layer does the harm, in numbers that can be checked by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from edgesdk.errors import DataError, ModelOutputError, UnknownNameError
from edgesdk.frontend.provenance import where
from edgesdk.quant import QuantSpec, WeightQuant, parse_recipe
from edgesdk.quant.fake_quantization.module_program import program_of
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.sensitivity import METRICS, output_error, rank_layers


class Two(nn.Module):
    """The first layer's weights lie on the grid, the second's do not."""

    def __init__(self):
        super().__init__()
        self.exact = nn.Linear(2, 2, bias=False)
        self.rough = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.exact.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
            self.rough.weight.copy_(torch.tensor([[1.0, 0.4], [0.4, 1.0]]))

    def forward(self, x):
        return self.rough(self.exact(x))


TWO_BITS = QuantSpec("w2", WeightQuant(2))


def simulated(net=None, spec=TWO_BITS):
    return SimulatedQuantization(program_of((net or Two()).eval(), torch.zeros(1, 2)), spec)


def points(*rows):
    return [{"x": np.array([row], np.float32)} for row in rows]


def test_damage_by_hand():
    expected = [{"y": np.array([[3.0, 4.0]])}, {"y": np.array([[0.0, 5.0]])}]
    actual = [{"y": np.array([[3.0, 3.0]])}, {"y": np.array([[3.0, 1.0]])}]
    found = output_error(expected, actual)
    # Energies: 50 of the signal, 1 + 9 + 16 of the difference.
    assert found.snr_db == pytest.approx(10 * math.log10(50 / 26))
    assert found.noise == pytest.approx(26 / 50)
    first, second = 21 / (5 * math.sqrt(18)), 5 / (5 * math.sqrt(10))
    assert found.cosine == pytest.approx((first + second) / 2)
    # Equal scores are of the first class.
    assert found.agreement == 0.0


def test_equal_answers_do_no_harm():
    same = [{"y": np.array([[1.0, 2.0]]), "n": np.array([1])}]
    found = output_error(same, same)
    assert (found.snr_db, found.agreement, found.noise) == (math.inf, 1.0, 0.0)
    assert found.cosine == pytest.approx(1.0)


def test_the_worst_output_counts_and_not_all_have_classes():
    expected = [{"a": np.array([1.0, 1.0]), "b": np.array([1.0, 1.0])}]
    actual = [{"a": np.array([1.0, 1.0]), "b": np.array([1.0, -1.0])}]
    found = output_error(expected, actual)
    assert found.cosine == 0.0
    assert found.agreement is None


def test_answers_of_nothing_and_of_infinity():
    zero, one = [{"y": np.zeros(3)}], [{"y": np.ones(3)}]
    assert output_error(zero, one).snr_db == -math.inf
    assert output_error(zero, one).cosine == 0.0
    assert output_error(one, [{"y": np.full(3, np.inf)}]).cosine == -1.0
    with pytest.raises(ModelOutputError, match="NaN or infinity"):
        output_error([{"y": np.full(3, np.nan)}], one)
    with pytest.raises(ModelOutputError, match="no output"):
        output_error([{"y": np.array([1])}], [{"y": np.array([1])}])


@pytest.mark.parametrize("metric", METRICS)
def test_the_rough_layer_is_the_worst(metric):
    told = []
    found = rank_layers(
        simulated(),
        points([1, 0], [0, 2], [3, 2.9]),
        metric=metric,
        leave_one_out=True,
        locate=where,
        on_progress=lambda done, total: told.append((done, total)),
    )
    rough, exact = found
    assert (rough.path, exact.path) == ("rough", "exact")
    assert exact.alone.snr_db == math.inf
    # 0.4 becomes 0: [1, .4] -> [1, 0], [.8, 2] -> [0, 2], [4.16, 4.1] -> [3, 2.9].
    signal = 1 + 0.16 + 0.64 + 4 + 4.16**2 + 4.1**2
    noise = 0.16 + 0.64 + 1.16**2 + 1.2**2
    assert rough.alone.snr_db == pytest.approx(10 * math.log10(signal / noise), rel=1e-5)
    # Kept float, it takes all harm with it; the other one takes none.
    assert rough.leave_one_out.snr_db == math.inf
    assert exact.leave_one_out == rough.alone
    assert (rough.operator, rough.weights, rough.share) == ("linear", 4, 0.5)
    assert rough.where.startswith("tests/quant/test_sensitivity.py:")
    assert told == [(1, 2), (2, 2)]


def test_layers_that_the_recipe_keeps_float_do_no_harm():
    spec = QuantSpec("w2", WeightQuant(2), float_layers=("rough",))
    found = rank_layers(simulated(spec=spec), points([1, 0]))
    assert [one.alone.snr_db for one in found] == [math.inf, math.inf]
    assert found[0].leave_one_out is None
    assert found[0].where == ""


def test_a_static_recipe_counts_activations_too():
    net = Two().eval()
    samples = points([1, 0], [0.3, 2])
    spec = dataclasses.replace(parse_recipe("w8a8_static"), ranges="min_max")
    program = program_of(net, torch.zeros(1, 2))
    static = SimulatedQuantization(program, spec, calibration=samples)
    found = {one.path: one.alone.snr_db for one in rank_layers(static, samples)}
    assert 20 < found["exact"] < 60


def test_bad_input():
    with pytest.raises(DataError, match="no samples to measure on"):
        rank_layers(simulated(), [])
    with pytest.raises(UnknownNameError, match="metric"):
        rank_layers(simulated(), points([1, 0]), metric="snr")

    class Vector(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            return self.linear(x).sum(1)

    with pytest.raises(ModelOutputError, match="class"):
        rank_layers(simulated(Vector()), points([1, 0]), metric="agreement")
