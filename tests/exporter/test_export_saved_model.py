"""From a saved model to a bundle that knows its preprocessing, its classes and its cost."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from edgesdk.bundle.bundle import Bundle
from edgesdk.exporter.cost_record import cost_of, cost_record
from edgesdk.exporter.export import export
from edgesdk.exporter.prepared import prepare
from edgesdk.frontend.edgemodel.file import ModelSignature, save_model
from edgesdk.report import render
from edgesdk.spec import ImageSpec, TensorSpec
from edgesdk.verification.verify_bundle import verify

CLASSES = ("left-handed", "right-handed")
IMAGE = ImageSpec(mean=(0.5, 0.25, 0.125), std=(0.5, 0.5, 0.25))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2)
        self.head = nn.Linear(4, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(image).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("saved")
    signature = ModelSignature(
        (TensorSpec("image", (1, 3, 16, 16), layout="NCHW"),), IMAGE, CLASSES
    )
    path = save_model(Net(), None, folder / "small.edgemodel", signature=signature)
    return export(str(path), targets="onnx", output=folder / "small.edge", image="auto")


def test_the_bundle_knows_what_was_saved_with_the_model(bundle: Bundle) -> None:
    manifest = bundle.manifest
    (artefact,) = manifest.artefacts
    assert artefact.inputs[0].image == IMAGE
    assert artefact.inputs[0].shape == (1, 16, 16, 3)
    assert (manifest.labels, manifest.classes) == ("", list(CLASSES))
    assert artefact.parity is not None and artefact.parity.passed
    seen = {name for _, *names in artefact.parity.classes for name in names}
    assert seen and seen <= set(CLASSES)


def test_the_bundle_knows_what_the_model_costs(bundle: Bundle) -> None:
    cost = bundle.manifest.cost
    assert cost is not None
    stem, head = cost.layers
    # 7 x 7 places of a 3 x 3 kernel on 3 channels, four times.
    assert (stem.name, stem.kind, stem.macs) == ("stem", "Conv2d 3x3 /2", 49 * 4 * 27)
    assert (head.name, head.kind, head.macs, head.parameters) == ("head", "Linear", 8, 10)
    assert (cost.parameters, cost.macs) == (4 * 27 + 4 + 10, 49 * 4 * 27 + 8)
    assert cost.memory_bytes == cost.size_bytes == 4 * cost.parameters
    assert 'id="cost"' in render(bundle.manifest)
    written = json.loads((bundle.path / "manifest.json").read_text("utf-8"))
    assert written["cost"]["macs_by_bits"] == {"32": cost.macs}


def test_verification_names_the_classes_again(bundle: Bundle) -> None:
    verify(bundle.path)
    (artefact,) = Bundle.open(bundle.path).manifest.artefacts
    assert artefact.parity is not None
    assert {name for _, name, _ in artefact.parity.classes} <= set(CLASSES)


class Breaks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not today")


class Many(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2 + index % 2) for index in range(2100))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(layer(x).sum() for layer in self.layers)  # type: ignore[return-value]


def test_a_model_that_cannot_be_counted_has_no_record() -> None:
    assert cost_record(prepare(Breaks().eval(), torch.ones(1, 2))) is None


def test_of_very_many_layers_the_dearest_are_listed() -> None:
    prepared = prepare(Many().eval(), torch.ones(1, 2))
    counted, record = cost_of(prepared), cost_record(prepared)
    assert record is not None
    assert (len(counted.rows), len(record.layers)) == (2100, 2000)
    assert (record.macs, record.parameters) == (counted.macs, counted.params)
    assert sum(layer.macs == 6 for layer in record.layers) == 1050
    order = [row.name for row in counted.rows]
    places = [order.index(layer.name) for layer in record.layers]
    assert places == sorted(places)


def test_the_cost_of_named_inputs() -> None:
    frame, flow = torch.zeros(1, 3, 64, 64), torch.zeros(1, 2, 64, 64)
    named = cost_of(prepare("two_stream", {"flow": flow, "frame": frame}))
    assert named == cost_of(prepare("two_stream"))
