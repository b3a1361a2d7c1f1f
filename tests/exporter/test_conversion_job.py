"""What a conversion is kept under in the cache, and what a failed one leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgesdk.converters.registry import parse_target
from edgesdk.exporter import conversion_job as conversions
from edgesdk.exporter.context import ExportContext
from edgesdk.exporter.conversion_job import ConversionJob
from edgesdk.exporter.options import ExportOptions
from edgesdk.exporter.prepared import CaptureSpec, PreparedModel, prepare
from edgesdk.exporter.results import FailedTarget
from edgesdk.spec import parse_dynamic


class Net(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.factor


def net(factor: float = 2.0, weight: float = 1.0) -> PreparedModel:
    model = Net(factor).eval()
    torch.nn.init.constant_(model.layer.weight, weight)
    torch.nn.init.zeros_(model.layer.bias)
    return prepare(model, torch.ones(2, 4))


def context(prepared: PreparedModel, folder: Path) -> ExportContext:
    options = ExportOptions()
    return ExportContext(prepared, options.gates, options.limits, None, folder, lambda *_: None)


def key(prepared: PreparedModel, folder: Path, target: str = "onnx", dynamic: str = "") -> str:
    dims = tuple(sorted(parse_dynamic(dynamic).items())) if dynamic else ()
    job = ConversionJob(*parse_target(target), CaptureSpec(dims))
    job.prepare(context(prepared, folder))
    return job.key


def test_the_same_work_has_the_same_key(tmp_path):
    assert key(net(), tmp_path) == key(net(), tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        lambda folder: key(net(weight=1.5), folder),
        lambda folder: key(net(factor=3.0), folder),
        lambda folder: key(net(), folder, target="litert"),
        lambda folder: key(net(), folder, target="coreml:fp32"),
        lambda folder: key(net(), folder, dynamic="batch"),
    ],
    ids=["weights", "code", "target", "variant", "free dimension"],
)
def test_whatever_decides_the_artefact_is_in_its_key(tmp_path, other):
    keys = {key(net(), tmp_path), key(net(), tmp_path, target="coreml"), other(tmp_path)}
    assert len(keys) == 3


@pytest.mark.parametrize("fact", ["package_versions", "code_digest"])
def test_other_versions_and_another_sdk_are_another_key(tmp_path, monkeypatch, fact):
    before = key(net(), tmp_path)
    changed = {"package_versions": lambda names: {"torch": "9.9"}, "code_digest": lambda: "other"}
    monkeypatch.setattr(conversions, fact, changed[fact])
    assert key(net(), tmp_path) != before


def test_a_job_that_was_stopped_starts_no_process(tmp_path):
    job = ConversionJob(*parse_target("onnx"), CaptureSpec())
    made = context(net(), tmp_path)
    job.prepare(made)
    job.stop()
    result = job.run(made)
    assert isinstance(result, FailedTarget)
    assert "stopped" in result.error.message


def test_options_take_one_for_several_and_texts_for_paths():
    options = ExportOptions(
        inputs="ids:1x6:int64",  # type: ignore[arg-type]
        dynamic="batch",  # type: ignore[arg-type]
        weights="w.safetensors",  # type: ignore[arg-type]
        samples="photo.jpg",  # type: ignore[arg-type]
    )
    assert [str(spec) for spec in options.inputs] == ["ids:1x6:int64"]
    assert options.dynamic == ("batch",)
    assert options.weights == Path("w.safetensors")
    assert options.samples == (Path("photo.jpg"),)
