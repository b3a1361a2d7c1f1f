"""Runs of a user's model change neither its inputs, nor its state, nor any random generator."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesdk.errors import InputSpecError
from edgesdk.exporter.export import export
from edgesdk.exporter.quantization.options import QuantizeOptions
from edgesdk.frontend.capture import capture, run_eager
from edgesdk.frontend.edgemodel.program import capture_model
from edgesdk.profiling.cost import count
from edgesdk.pruning.channels import find_channels
from edgesdk.pruning.clusters import mean_feature_maps
from edgesdk.pruning.options import PruneOptions
from edgesdk.pruning.prune import prune
from edgesdk.quant.bias_correction import correct_bias
from edgesdk.quant.cross_layer_equalization import equalize
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.qat import prepare_qat
from edgesdk.quant.recipes import parse_recipe
from edgesdk.spec import TensorSpec
from edgesdk.training.channels_last import in_fastest_layout
from edgesdk.training.evaluation import evaluate
from edgesdk.verification.accuracy_drop import EvaluationSet, float_answers, measure_drop

SHAPE = (2, 3, 8, 8)


class Net(nn.Module):
    """Writes into its input, counts in a buffer and an attribute, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.register_buffer("seen", torch.zeros(2))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).div_(0.25)
        x[:, :, :2] *= 0.5
        self.seen += 1
        self.calls += 1
        noise = torch.rand(1) + random.random() + np.random.rand()
        return self.last(torch.relu(self.first(x))).mean((2, 3)) + 0 * noise


class Normalizes(nn.Module):
    """Normalizes in place, or as its twin does without."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.sub_(0.5).div_(0.25) if self.in_place else (x - 0.5) / 0.25
        return self.last(torch.relu(self.first(x))).mean((2, 3))


def built(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(14)
        return build().eval()


def drawn() -> tuple[float, float, float]:
    return float(torch.rand(1)), random.random(), float(np.random.rand())


@pytest.fixture
def seeded() -> Iterator[tuple[float, float, float]]:
    """The next numbers of every global generator, which are then at their start again."""
    random.seed(2)
    np.random.seed(2)
    torch.manual_seed(2)
    expected = drawn()
    random.seed(2)
    np.random.seed(2)
    torch.manual_seed(2)
    yield expected


IMAGES = [(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(i)), 0) for i in range(4)]

RUNS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "cost": count,
    "cost on values": lambda net, x: count(_Branches(net), x),
    "channels": find_channels,
    "feature maps": lambda net, x: mean_feature_maps(net, find_channels(net, x), IMAGES),
    "pruning": lambda net, x: prune(net, x, PruneOptions(macs=0.5)),
    "saving": capture_model,
    "training copy": lambda net, x: prepare_qat(net, parse_recipe("w8_only"), x),
    "bias correction": lambda net, x: correct_bias(net, parse_recipe("w8a8_static"), [x]),
    "equalization": lambda net, x: equalize(net, x),
    "evaluation": lambda net, x: evaluate(net, IMAGES),
    "layout": lambda net, x: in_fastest_layout(net, SHAPE[1:]).__enter__(),
}


class _Branches(nn.Module):
    """A model whose control flow depends on values, so that it must run on them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if float(x.sum()) > 0 else -self.net(x)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_run_leaves_everything_as_it_was(run, seeded) -> None:
    net = built(Net)
    before = copy.deepcopy(net.state_dict())
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    given = x.clone()
    images = [image.clone() for image, _ in IMAGES]
    run(net, x)
    assert drawn() == seeded
    assert torch.equal(x, given)
    assert all(torch.equal(a, b) for a, (b, _) in zip(images, IMAGES, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.calls == 0


def test_a_failing_run_leaves_everything_too(seeded) -> None:
    class Fails(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) @ torch.ones(5)

    net = built(Fails)
    x = torch.full(SHAPE, 0.75)
    with pytest.raises(InputSpecError, match="fails on the inputs"):
        count(net, x)
    assert drawn() == seeded
    assert x.eq(0.75).all() and net.calls == 0 and not net.seen.any()


def test_pruning_of_a_model_that_normalizes_in_place_is_that_of_its_twin() -> None:
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    results = [
        prune(built(lambda own=own: Normalizes(own)), x, PruneOptions(macs=0.5))
        for own in (True, False)
    ]
    kept = [result.selection.kept for result in results]
    assert kept[0] == kept[1] and len(kept[0]["first"]) == 4
    assert results[0].after == results[1].after


def test_the_drop_of_a_model_that_normalizes_in_place_is_that_of_its_twin() -> None:
    numbers = np.random.default_rng(0)
    samples = [{"x": numbers.random(SHAPE, dtype=np.float32)} for _ in range(8)]
    drops = []
    for own in (True, False):
        net = built(lambda own=own: Normalizes(own))
        found = capture(net, [TensorSpec("x", SHAPE)], [torch.zeros(SHAPE)])
        simulated = SimulatedQuantization(
            found.program, parse_recipe("w8a8_static"), calibration=samples
        )
        answers = float_answers(
            lambda arrays, found=found: run_eager(found.flat_model, arrays), samples
        )
        data = EvaluationSet(tuple(samples), answers, (), "random numbers")
        drops.append(measure_drop(simulated.run, data))
    assert drops[0] == drops[1]
    assert drops[0].cosine is not None and drops[0].cosine > 0.999


@pytest.mark.slow
def test_quantization_of_a_model_that_normalizes_in_place_is_that_of_its_twin(
    tmp_path: Path,
) -> None:
    numbers = np.random.default_rng(0)
    for name in ("calibration", "evaluation"):
        np.savez(tmp_path / f"{name}.npz", x=numbers.random((8, *SHAPE), dtype=np.float32))
    drops = []
    for own in (True, False):
        bundle = export(
            built(lambda own=own: Normalizes(own)),
            torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)),
            targets=["onnx"],
            output=tmp_path / f"{own}.edge",
            quantize=QuantizeOptions(
                "w8a8_static",
                calibration=tmp_path / "calibration.npz",
                evaluation=tmp_path / "evaluation.npz",
            ),
        )
        [record] = [a for a in bundle.manifest.artefacts if a.quantized is not None]
        drops.append(record.quantized.drop)
    assert drops[0] is not None and drops[1] is not None
    assert drops[0].cosine == pytest.approx(drops[1].cosine, abs=1e-6)
    assert drops[0].cosine > 0.999
