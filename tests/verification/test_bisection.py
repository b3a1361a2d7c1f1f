"""Finding the operator to blame, with real converters and runtimes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import file_record
from edgesdk.errors import UsageError
from edgesdk.verification.bisection.bisect import bisect


def line_of(file: Path, text: str) -> int:
    """Number of the one line that holds a text."""
    [number] = [n for n, line in enumerate(file.read_text().splitlines(), 1) if text in line]
    return number


@pytest.fixture(scope="module")
def drifting(edgesdk_command):
    """A bundle whose LiteRT artefact computes in float32 what needs float64."""
    path = edgesdk_command.folder / "drifting.edge"
    ended = edgesdk_command(
        *("export", "nets/tiny.py:drifting", "--input", "x:1x3x12x12", "-o", path.name),
        *("--to", "litert", "--json"),
    )
    assert ended.code == 1, ended.err
    return path


def test_the_first_operator_that_deviates_is_named_with_its_line(drifting, edgesdk_command):
    ended = edgesdk_command("verify", drifting.name, "--bisect", "--json")
    assert ended.code == 1
    [deviation] = ended.json["deviations"]
    line = line_of(edgesdk_command.folder / "nets" / "tiny.py", "# the line that float32 cannot")
    assert deviation["stage"] == "operator"
    assert deviation["operator"] == "aten.add.Tensor"
    assert deviation["where"].endswith(f"nets/tiny.py:{line}")
    assert deviation["max_abs"] > 1.0
    assert deviation["conversions"] == 1


def test_an_artefact_within_its_gate_has_nothing_to_blame(exported):
    bundle = Bundle.open(exported.path)
    deviation = bisect(bundle, bundle.artefact("onnx"))
    assert (deviation.found, deviation.stage) == (False, "none")


def test_altered_weights_are_told_from_a_converters_fault(exported, copy_of):
    import onnx
    from onnx import numpy_helper

    folder = copy_of(exported.path)
    model = onnx.load(folder / "model.onnx")
    [weight] = [t for t in model.graph.initializer if t.name.endswith("head.weight")]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.5, weight.name))
    onnx.save(model, folder / "model.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    record = file_record(folder, "model.onnx")
    for artefact in manifest["artefacts"]:
        if artefact["target"] == "onnx:fp32":
            artefact["file"] |= {"sha256": record.sha256, "size": record.size}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    bundle = Bundle.open(folder)
    deviation = bisect(bundle, bundle.artefact("onnx"))
    assert (deviation.found, deviation.stage) == (True, "artefact")
    assert "altered" in deviation.explanation
    assert deviation.operator in ("Gemm", "MatMul")
    assert deviation.module == "head"
    source = Path(__file__).parents[1] / "user_project" / "nets" / "tiny.py"
    assert deviation.where.endswith(f"nets/tiny.py:{line_of(source, 'self.head(features')}")


def test_a_bundle_without_its_program_says_how_to_get_one(exported, copy_of):
    folder = copy_of(exported.path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["reference"]["program"] = None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    bundle = Bundle.open(folder)
    with pytest.raises(UsageError, match="reference=False"):
        bisect(bundle, bundle.artefact("onnx"))
