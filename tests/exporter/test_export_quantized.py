"""Exports that quantize, end to end: proven, measured, gated, repaired."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgesdk
from edgesdk import QuantizeOptions
from edgesdk.bundle.bundle import Bundle
from edgesdk.cli import main
from edgesdk.errors import DataError, EdgeSdkError, GateError, UnknownNameError, UsageError
from edgesdk.exporter.quantization.calibration_data import QuantizationInputs
from edgesdk.exporter.quantization.options import parse_drop
from edgesdk.report import write_report
from edgesdk.verification.verify_bundle import require_parity


class Net(nn.Module):
    """A small classifier with one huge channel between its convolutions: int8 hurts there."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1, stride=2)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.first.weight[0] *= 200
            self.second.weight[:, 0] /= 200

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(image))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(3)
    return Net().eval()


@pytest.fixture(scope="module")
def inputs() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(48)]


TARGETS = ("executorch", "coreml", "litert", "onnx")


@pytest.fixture(scope="module")
def bundle(net: Net, inputs: list[np.ndarray], tmp_path_factory: Any) -> Bundle:
    """Every target, float and int8 with fixed ranges."""
    return edgesdk.export(
        net,
        torch.from_numpy(inputs[0]),
        targets=TARGETS,
        output=tmp_path_factory.mktemp("quantized") / "net.edge",
        quantize=QuantizeOptions(
            ("fp32", "w8a8_static"),
            calibration=inputs[:16],
            evaluation=inputs[16:],
            calibration_samples=16,
            sensitivity=True,
        ),
    )


def test_every_target_is_proven_against_its_simulation(bundle: Bundle) -> None:
    assert not bundle.manifest.failures
    assert len(bundle.manifest.artefacts) == 2 * len(TARGETS)
    require_parity(bundle.manifest)
    for artefact in bundle.manifest.artefacts:
        if artefact.quantized is None:
            assert artefact.simulated is None
            continue
        assert artefact.parity is not None
        assert artefact.parity.outputs[0].cosine is not None
        assert artefact.parity.outputs[0].cosine >= 0.999
        assert artefact.simulated is not None
        assert bundle.path_of(artefact.simulated).is_file()


def test_layers_are_read_back_with_their_bits(bundle: Bundle) -> None:
    for artefact in bundle.manifest.artefacts:
        if artefact.quantized is None:
            continue
        layers = {layer.path: layer for layer in artefact.quantized.layers}
        assert set(layers) == {"first", "second", "head"}, artefact.target
        assert all(layer.bits == 8 for layer in layers.values()), artefact.target
        assert layers["first"].weights == 432
        assert "test_export_quantized.py" in layers["first"].where
        assert artefact.quantized.weights == {8: 432 + 2304 + 160}


def test_what_is_lost_is_measured_on_other_inputs(bundle: Bundle) -> None:
    for artefact in bundle.manifest.artefacts:
        if artefact.quantized is None:
            continue
        drop = artefact.quantized.drop
        assert drop is not None
        assert drop.metric == "agreement"
        assert drop.samples == 32
        assert drop.agreement is not None
        assert drop.cosine is not None
        assert drop.cosine > 0.9
        assert drop.bound is None
        assert artefact.quantized.calibration is not None
        assert artefact.quantized.calibration.samples == 16


def test_the_export_holds_no_calibration_inputs(bundle: Bundle) -> None:
    assert not list(bundle.path.rglob("*calibration*"))
    assert not list(bundle.path.rglob("*.float.*"))


def test_a_bundle_can_be_verified_again(bundle: Bundle) -> None:
    again = edgesdk.verify(bundle, targets=["model-w8a8_static.onnx"])
    record = again.artefact("model-w8a8_static.onnx")
    assert record.parity is not None
    assert record.parity.passed
    assert record.simulated is not None
    assert record.parity.samples_sha256 == record.simulated.sha256


def test_layers_and_operators_are_ranked(bundle: Bundle) -> None:
    (record,) = bundle.manifest.sensitivity
    assert record.recipe == "w8a8_static"
    assert {layer.path for layer in record.layers} == {"first", "second", "head"}
    ratios = [layer.snr_db for layer in record.layers if layer.snr_db is not None]
    assert ratios == sorted(ratios)
    assert all("test_export_quantized.py" in layer.where for layer in record.layers)
    assert len(record.operators) >= 6
    page = write_report(bundle.path).read_text("utf-8")
    assert 'id="quantization"' in page


@pytest.fixture(scope="module")
def exported(net: Net, inputs: list[np.ndarray], tmp_path_factory: Any) -> Any:
    """Exports to ONNX, the quickest to convert."""

    def run(**options: Any) -> Bundle:
        return edgesdk.export(
            net,
            torch.from_numpy(inputs[0]),
            targets="onnx",
            output=tmp_path_factory.mktemp("quantized") / "net.edge",
            quantize=QuantizeOptions(
                **{"calibration": inputs[:16], "evaluation": inputs[16:], **options}
            ),
        )

    return run


def test_a_layer_can_be_kept_float(exported: Any) -> None:
    made = exported(recipes="w8a8_static", float_layers=("first",))
    (artefact,) = made.manifest.artefacts
    bits = {layer.path: layer.bits for layer in artefact.quantized.layers}
    assert bits == {"first": 32, "second": 8, "head": 8}
    assert artefact.quantized.float_layers == ["first"]
    assert artefact.parity.passed


def test_int8_at_the_face(exported: Any) -> None:
    made = exported(recipes="w8a8_static", io_dtype="int8")
    (artefact,) = made.manifest.artefacts
    assert [spec.dtype for spec in (*artefact.inputs, *artefact.outputs)] == ["int8", "int8"]
    assert {face.name for face in artefact.quantized.faces} == {
        artefact.inputs[0].name,
        artefact.outputs[0].name,
    }
    assert artefact.parity.passed
    assert artefact.quantized.drop.cosine > 0.9


def test_a_missed_gate_names_the_worst_layers(exported: Any) -> None:
    from edgesdk.verification.accuracy_drop import require_drop

    made = exported(recipes="w8a8_static", max_drop=0.0)
    (artefact,) = made.manifest.artefacts
    drop = artefact.quantized.drop
    assert not drop.passed
    assert drop.culprits
    with pytest.raises(GateError, match=drop.culprits[0].path):
        require_drop(made.manifest)


def test_repair_keeps_few_layers_float(exported: Any) -> None:
    plain = exported(recipes="w8a8_static").manifest.artefacts[0].quantized
    bound = max(plain.drop.drop - 0.1, 0.0)
    made = exported(recipes="w8a8_static", max_drop=bound, accuracy_control=True)
    (artefact,) = made.manifest.artefacts
    assert artefact.quantized.drop.drop <= bound
    assert artefact.quantized.drop.passed
    assert 0 < len(artefact.quantized.float_layers) < 3
    assert artefact.parity.passed
    bits = {layer.path: layer.bits for layer in artefact.quantized.layers}
    assert all(bits[path] == 32 for path in artefact.quantized.float_layers)
    assert min(bits.values()) == 8


def test_a_model_that_does_not_classify_is_measured_by_cosine(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    samples = [np.random.default_rng(i).random((1, 3, 8, 8)).astype(np.float32) for i in range(8)]
    made = edgesdk.export(
        image.eval(),
        torch.from_numpy(samples[0]),
        targets="onnx",
        output=tmp_path / "image.edge",
        quantize=QuantizeOptions("w8a8_static", calibration=samples[:4], evaluation=samples[4:]),
    )
    drop = made.manifest.artefacts[0].quantized.drop
    assert drop.metric == "cosine"
    assert drop.agreement is None
    assert 0 <= drop.drop < 0.01


def test_a_recipe_the_target_lacks_is_told_and_the_others_go_on(
    net: Net, inputs: list[np.ndarray], tmp_path: Path
) -> None:
    made = edgesdk.export(
        net,
        torch.from_numpy(inputs[0]),
        targets="onnx",
        output=tmp_path / "net.edge",
        quantize=("palette4", "w8_only"),
    )
    assert [artefact.quantization for artefact in made.manifest.artefacts] == ["w8_only"]
    (failure,) = made.manifest.failures
    assert failure.error == "UnsupportedRecipeError"
    assert "w8_only" in (failure.remedy or "")


# ---------------------------------------------------------------- bad input


def test_ranges_need_inputs(net: Net, inputs: list[np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs calibration inputs"):
        edgesdk.export(
            net,
            torch.from_numpy(inputs[0]),
            targets="onnx",
            output=tmp_path / "net.edge",
            quantize="w8a8_static",
        )
    assert not (tmp_path / "net.edge").exists()


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([np.full((1, 3, 16, 16), np.nan, np.float32)], "NaN"),
        ([np.zeros((1, 3, 16, 17), np.float32)], "not"),
        ([np.zeros((1, 3, 16, 16), np.float32)] * 4, "is constant"),
        ([], "no inputs|at least one"),
    ],
)
def test_bad_calibration(net: Net, calibration: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        edgesdk.export(
            net,
            torch.zeros(1, 3, 16, 16),
            targets="onnx",
            output=tmp_path / "net.edge",
            quantize=QuantizeOptions("w8a8_static", calibration=calibration),
        )
    assert not (tmp_path / "net.edge").exists()


def test_inputs_in_both_sets_are_refused(net: Net, inputs: list[np.ndarray]) -> None:
    from edgesdk.exporter.prepared import prepare
    from edgesdk.quant.recipes import RECIPES

    prepared = prepare(net, torch.from_numpy(inputs[0]))
    options = QuantizeOptions("w8a8_static", calibration=inputs[:8], evaluation=inputs[7:])
    with pytest.raises(DataError, match="in both the calibration and the evaluation set"):
        QuantizationInputs.read(options, prepared, [RECIPES["w8a8_static"]])


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"recipes": ()}, UsageError),
        ({"recipes": "w8a8"}, UnknownNameError),
        ({"recipes": "w8_only", "ranges": "max"}, UnknownNameError),
        ({"recipes": "w8_only", "io_dtype": "uint8"}, UnknownNameError),
        ({"recipes": "w8_only", "max_drop": 2.0}, UsageError),
        ({"recipes": "w8_only", "accuracy_control": True}, UsageError),
        ({"recipes": "w8_only", "samples": 0}, UsageError),
    ],
)
def test_options_that_contradict_themselves(options: Any, kind: type[EdgeSdkError]) -> None:
    with pytest.raises(kind):
        QuantizeOptions(**options)


def test_the_former_names_of_options_still_work_and_name_the_new_ones() -> None:
    with pytest.warns(DeprecationWarning) as warned:
        options = QuantizeOptions("w8a8_static", max_drop=0.1, repair=True, face="int8")
    assert [str(one.message).partition("use ")[2] for one in warned] == [
        "io_dtype=",
        "accuracy_control=",
    ]
    assert (options.accuracy_control, options.io_dtype) == (True, "int8")


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.5 %", 0.005), ("0.02", 0.02), ("0", 0.0), (".5%", 0.005)]
)
def test_drops_as_people_write_them(text: str, share: float) -> None:
    assert parse_drop(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "much", "-1%", "200%", "2", "1e-3", "nan"])
def test_drops_nobody_means(text: str) -> None:
    with pytest.raises(UsageError):
        parse_drop(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calibration", "."], "needs a recipe"),
        (["--quantize", "w8a8_statc"], "w8a8_static"),
        (["--quantize", "w8_only", "--max-drop", "1%"], "needs inputs to measure"),
        (["--quantize", "w8_only", "--evaluate", "no/such/folder"], "no such file or folder"),
        (["--quantize", "w8_only", "--accuracy-control"], "max-drop"),
    ],
)
def test_the_command_refuses_before_it_loads_anything(
    arguments: list[str], message: str, capsys: Any
) -> None:
    assert main(["export", "mobilenet_v2", "--json", *arguments]) == 2
    told = json.loads(capsys.readouterr().out)
    assert message in f"{told['message']} {told['remedy']}"


def test_the_report_needs_something_to_measure_on(capsys: Any) -> None:
    assert main(["quantize-report", "mobilenet_v2", "--json"]) == 2
    assert "--evaluate" in json.loads(capsys.readouterr().out)["remedy"]


class Recurrent(nn.Module):
    """A convolution of even width and an LSTM, which no simulation computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 8, 4, padding="same")
        self.memory = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.memory(torch.relu(self.conv(x)).transpose(1, 2))
        return self.head(states[:, -1])


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(5)
    generator = np.random.default_rng(1)
    return edgesdk.export(
        Recurrent().eval(),
        torch.rand(1, 3, 20),
        targets=("onnx",),
        output=tmp_path_factory.mktemp("recurrent") / "net.edge",
        quantize=QuantizeOptions(
            ("w8a32_dynamic",),
            evaluation=[generator.standard_normal((1, 3, 20)).astype(np.float32) for _ in range(8)],
        ),
    )


def test_an_artefact_without_simulation_is_measured_in_its_runtime(recurrent: Bundle) -> None:
    assert not recurrent.manifest.failures
    (artefact,) = recurrent.manifest.artefacts
    assert artefact.simulated is None
    assert artefact.parity is not None
    assert artefact.parity.passed
    assert artefact.parity.note == (
        "run in its runtime alone: no simulation of LSTM; compared with the float model"
    )
    # It differs as a quantized network does, and is not gated as a simulation would be.
    (output,) = artefact.parity.outputs
    assert output.max_abs is not None
    assert 1e-5 < output.max_abs < 0.1
    assert artefact.parity.gate.cosine == 0.9
    assert artefact.quantized is not None
    assert {layer.path: layer.bits for layer in artefact.quantized.layers} == {"conv": 8, "head": 8}
    drop = artefact.quantized.drop
    assert drop is not None
    assert drop.samples == 8
    assert drop.cosine is not None
    assert 0.99 < drop.cosine < 1
    assert artefact.parity.note in artefact.notes


def test_verifying_it_again_keeps_what_it_was_compared_with(recurrent: Bundle) -> None:
    before = recurrent.manifest.artefacts[0].parity
    assert edgesdk.verify(recurrent).manifest.artefacts[0].parity == before


def test_even_same_padding_is_quantized_on_litert(tmp_path: Path) -> None:
    torch.manual_seed(6)
    net = nn.Sequential(
        nn.Conv1d(2, 8, 4, padding="same"),
        nn.ReLU(),
        nn.Conv1d(8, 4, 6, padding="same", dilation=2, groups=4),
    )
    generator = np.random.default_rng(2)
    made = edgesdk.export(
        net.eval(),
        torch.rand(1, 2, 30),
        targets=("litert",),
        output=tmp_path / "net.edge",
        quantize=QuantizeOptions(
            ("w8a8_static",),
            calibration=[
                generator.standard_normal((1, 2, 30)).astype(np.float32) for _ in range(12)
            ],
        ),
    )
    assert not made.manifest.failures
    require_parity(made.manifest)
    quantized = made.manifest.artefacts[0].quantized
    assert quantized is not None
    assert {layer.path: layer.bits for layer in quantized.layers} == {"0": 8, "2": 8}
