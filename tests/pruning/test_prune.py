"""Pruning from start to end, saved, loaded in a fresh process and exported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgesdk import models
from edgesdk.errors import (
    BudgetError,
    InputSpecError,
    OutputExistsError,
    PruningError,
    UnknownNameError,
    UsageError,
)
from edgesdk.exporter.export import export
from edgesdk.frontend.edgemodel.file import read_model_file, save_model
from edgesdk.models.widths import config_from_layers
from edgesdk.profiling.cost import count
from edgesdk.pruning.channels import find_channels
from edgesdk.pruning.latency_meter import LatencyMeter, parse_latency_goal
from edgesdk.pruning.methods import METHODS, MethodSettings
from edgesdk.pruning.options import PruneOptions
from edgesdk.pruning.prune import prune
from edgesdk.pruning.swarm import SwarmSettings
from edgesdk.training import DataSplits, LabelledImages, Recipe

RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=0.05, optimizer="sgd", seed=1)


def labelled(count: int, seed: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    noise = torch.randint(0, 80, (count, 1, 16, 16), generator=generator)
    images = noise + 60 * labels[:, None, None, None]
    return LabelledImages(images.to(torch.uint8), labels, ("a", "b", "c"), "made")


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return DataSplits(
        labelled(48, 0),
        labelled(24, 1),
        labelled(24, 2),
        ("a", "b", "c"),
        (0.4,),
        (0.25,),
        (1, 16, 16),
    )


@pytest.fixture(scope="module")
def net():
    return models.create("resnet20", num_classes=3, in_channels=1)


PICTURE = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_meets_the_budget(method, net, data):
    options = PruneOptions(
        method=method,
        macs=0.5,
        recipe=RECIPE,
        settings=MethodSettings(swarm=SwarmSettings(particles=2, cycles=1)),
    )
    before = {key: value.clone() for key, value in net.state_dict().items()}
    result = prune(net, PICTURE, options, data=data, architecture="resnet20")
    assert abs(result.after.macs / result.before.macs - 0.5) <= 0.01
    assert count(result.model, PICTURE).macs == result.after.macs
    assert result.retrained == ("scratch" if method == "ucp" else "finetune")
    assert result.architecture == "resnet20"
    assert result.accuracy_after is not None
    assert result.record()["method"] == method
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def test_the_same_seed_gives_the_same_weights(net, data):
    options = PruneOptions(method="ucp", macs=0.5, recipe=RECIPE)
    one, other = (prune(net, PICTURE, options, data=data).model for _ in range(2))
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet20", 32),
        ("vgg16", 32),
        ("mobilenet_v3_small", 64),
        pytest.param("resnet50", 64, marks=pytest.mark.slow),
        pytest.param("resnet18", 64, marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", 64, marks=pytest.mark.slow),
        pytest.param("googlenet", 64, marks=pytest.mark.slow),
        pytest.param("efficientnet_lite0", 64, marks=pytest.mark.slow),
    ],
)
def test_a_pruned_zoo_net_is_built_again_from_its_configuration(name, side, tmp_path):
    config = {"pretrained": False} if name == "efficientnet_lite0" else {}
    model = models.create(name, **config)
    assert config_from_layers(model) == model.config
    picture = torch.randn(1, model.config["in_channels"], side, side)
    options = PruneOptions(method="random", macs=0.6, retrain="none")
    result = prune(model, picture, options, architecture=name)
    assert result.architecture == name
    save_model(result.model, name, tmp_path / "small.edgemodel", pruning=result.record())
    found = read_model_file(tmp_path / "small.edgemodel")
    assert found.config == result.model.config
    assert found.pruning["after"]["macs"] == result.after.macs
    with torch.no_grad():
        assert torch.equal(found.model(picture), result.model(picture))


def test_a_source_is_pruned_and_saved(tmp_path: Path):
    output = tmp_path / "small.edgemodel"
    options = PruneOptions(macs=0.5)
    result = prune("resnet20", options=options, output=output)
    saved = read_model_file(output)
    assert saved.architecture == result.architecture == "resnet20"
    assert saved.pruning == result.record()
    for key, value in saved.model.state_dict().items():
        assert torch.equal(value, result.model.state_dict()[key])
    with pytest.raises(OutputExistsError, match="exists"):
        prune("resnet20", options=options, output=output)
    # The pruned model is a SOURCE again, and its inputs may be given.
    again = prune(str(output), options=options, input_specs=["image:1x3x16x16"], output=None)
    assert again.before.params == result.after.params
    with pytest.raises(UsageError, match=r"small\.pth"):
        prune("resnet20", options=options, output=tmp_path / "small.pth")


def test_a_model_with_data_needs_no_inputs(net, data, tmp_path: Path):
    options = PruneOptions(macs=0.5, retrain="none")
    prune(net, options=options, data=data, architecture="resnet20", output=tmp_path / "a.edgemodel")
    assert read_model_file(tmp_path / "a.edgemodel").signature.classes == data.classes
    with pytest.raises(InputSpecError, match="unknown"):
        prune(net, options=options)
    for arguments in ({"weights": "net.safetensors"}, {"input_specs": ["image:1x1x16x16"]}):
        with pytest.raises(UsageError, match="belong to a SOURCE"):
            prune(net, PICTURE, options, **arguments)


USER_NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(3, 16, 3, padding=1)
        self.right = nn.Conv2d(3, 24, 3, padding=1)
        self.join = nn.Conv2d(40, 32, 3, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        x = torch.relu(torch.cat([self.left(x), self.right(x)], 1))
        return self.head(torch.relu(self.join(x)).mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Net(), torch.zeros(1, 3, 16, 16)
"""


def test_a_users_net_is_pruned_and_loads_without_its_code(tmp_path: Path):
    (tmp_path / "net.py").write_text(USER_NET)
    command = [sys.executable, "-m", "edgesdk"]
    pruned = [*command, "prune", "net.py:build", "--flops", "-40%", "-o", "small.edgemodel"]
    done = subprocess.run(pruned, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "left" in done.stdout and "MACs" in done.stdout
    (tmp_path / "net.py").unlink()
    small = tmp_path / "small.edgemodel"
    assert not [path for path in small.rglob("*") if path.suffix in (".pkl", ".pth", ".py")]
    exported = [*command, "export", "small.edgemodel", "--to", "onnx", "-o", "small.edge"]
    done = subprocess.run(exported, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout


def test_latency_is_measured_and_met(net):
    goal = parse_latency_goal("onnx:local", 0.95)
    assert goal.target.startswith("onnx:") and goal.device == "local"
    wide = models.create("vgg16", widths=[[64, 64], [128, 128]], num_classes=3, in_channels=1)
    picture = torch.randn(1, 1, 64, 64)
    result = prune(wide, picture, PruneOptions(method="l1", latency=goal, round_to=8))
    assert result.latency is not None
    assert result.latency[1] <= 0.95 * result.latency[0]
    assert result.after.macs < result.before.macs


@pytest.mark.slow
def test_acp_searches_under_a_latency(data):
    wide = models.create("vgg16", widths=[[32, 32], [64, 64]], num_classes=3, in_channels=1)
    options = PruneOptions(
        method="acp",
        latency=parse_latency_goal("onnx:local", 0.9),
        retrain="none",
        settings=MethodSettings(swarm=SwarmSettings(particles=2, cycles=1)),
    )
    result = prune(wide, torch.randn(1, 1, 64, 64), options, data=data)
    assert result.latency is not None
    assert result.latency[1] <= 0.9 * result.latency[0]
    assert result.findings["candidates"] >= 1


@pytest.mark.slow
def test_a_latency_nothing_reaches_names_the_nearest(net):
    goal = parse_latency_goal("onnx:local", 0.0001)
    with pytest.raises(BudgetError, match="the nearest has"):
        prune(net, PICTURE, PruneOptions(latency=goal))


def test_latency_needs_a_target_that_runs(net):
    with LatencyMeter(PICTURE, ["onnx"], runs=3) as meter:
        meter.add("net", net)
        times = meter.measure(["net"])
    assert list(times) == [("net", "onnx:fp32")] and times["net", "onnx:fp32"] > 0
    with pytest.raises(UsageError, match="names no device"):
        parse_latency_goal("onnx", 0.5)
    with pytest.raises(UnknownNameError, match="unknown device"):
        parse_latency_goal("onnx:nowhere", 0.5)


def test_options_that_do_not_go_together(net, data):
    with pytest.raises(UnknownNameError, match=r"did you mean 'ucp'"):
        PruneOptions(method="upc")
    with pytest.raises(UsageError, match="retrain is 'again'"):
        PruneOptions(retrain="again")
    goal = parse_latency_goal("onnx:local", 0.5)
    with pytest.raises(UsageError, match="exclude each other"):
        PruneOptions(latency=goal, macs=0.5)
    with pytest.raises(UsageError, match="several places"):
        MethodSettings(processes=1, dask="tcp://127.0.0.1:8786")
    with pytest.raises(UsageError, match="no budget was given"):
        prune(net, PICTURE, PruneOptions())
    for method in ("ucp", "acp"):
        with pytest.raises(UsageError, match="data="):
            prune(net, PICTURE, PruneOptions(method=method, macs=0.5))
    with pytest.raises(UsageError, match="labelled images and a recipe"):
        prune(net, PICTURE, PruneOptions(macs=0.5, retrain="scratch"))
    with pytest.raises(BudgetError, match="the nearest is"):
        names = [group.name for group in find_channels(net, PICTURE).groups]
        prune(net, PICTURE, PruneOptions(macs=0.1, protect=tuple(names[1:])))
    with pytest.raises(PruningError, match="no layer of Linear"):
        prune(torch.nn.Linear(2, 2), torch.zeros(1, 2), PruneOptions(macs=0.5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "macs", "params"),
    [("vgg19_cifar100", 32, -0.62, -0.82), ("resnet50", 224, -0.6334, -0.6436)],
)
def test_the_published_cuts_export_to_every_target(name, side, macs, params, tmp_path):
    model = models.create(name)
    picture = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    options = PruneOptions(method="l1", macs=1 + macs, params=1 + params)
    result = prune(model, picture, options, architecture=name)
    assert abs(result.after.macs / result.before.macs - 1 - macs) <= 0.01
    assert abs(result.after.params / result.before.params - 1 - params) <= 0.01
    save_model(result.model, name, tmp_path / "small.edgemodel", example=picture)
    bundle = export(
        str(tmp_path / "small.edgemodel"),
        picture,
        targets="executorch,coreml,litert,onnx",
        output=tmp_path / "small.edge",
    )
    assert [artefact.parity.passed for artefact in bundle.manifest.artefacts] == [True] * 4
