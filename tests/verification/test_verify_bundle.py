"""Proving a bundle again: damage is refused, a difference is found, a missing runtime is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from edgesdk import verify
from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import ArtefactRecord, file_record
from edgesdk.bundle.samples import Samples
from edgesdk.errors import BundleDamagedError, GateError, MissingBackendError, UsageError
from edgesdk.runtime.session import Session
from edgesdk.spec import TensorSpec
from edgesdk.verification.parity import GATES, Tolerances
from edgesdk.verification.verify_bundle import compare, require_parity, verdict

ONNX = ("--target", "onnx")


@pytest.fixture
def folder(exported, copy_of):
    return copy_of(exported.path)


def edit_manifest(folder: Path, change) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), "utf-8")


def with_true_hash(folder: Path, name: str):
    """Makes the manifest vouch for a file as it now is."""

    def change(manifest):
        record = file_record(folder, name)
        entries = [artefact["file"] for artefact in manifest["artefacts"]]
        for entry in (*entries, manifest["reference"]["samples"]):
            if entry["path"] == name:
                entry |= {"sha256": record.sha256, "size": record.size}

    edit_manifest(folder, change)


def scale_a_weight(path: Path, factor: float) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    [weight] = [tensor for tensor in model.graph.initializer if tensor.name.endswith("head.weight")]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * factor, weight.name))
    onnx.save(model, path)


def test_every_artefact_is_proven_again(edgesdk_command, folder):
    ended = edgesdk_command("verify", str(folder), "--json")
    assert ended.code == 0, ended.err
    result = ended.json
    assert set(result) == {"bundle", "artefacts", "warnings"}
    assert [entry["parity"]["passed"] for entry in result["artefacts"]] == [True] * 4
    records = Bundle.open(folder).manifest.artefacts
    assert [entry["parity"] for entry in result["artefacts"]] == [
        record.parity.model_dump(mode="json") for record in records if record.parity
    ]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "BundleDamagedError"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"), "BundleDamagedError"),
        (lambda path: path.unlink(), "BundleDamagedError"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "BundleUnsafeError"),
    ],
    ids=["truncated", "altered", "missing", "link"],
)
@pytest.mark.parametrize("name", ["model.onnx", "samples.safetensors"])
def test_damage_is_refused_before_anything_is_run(here, folder, capsys, name, damage, kind):
    damage(folder / name)
    before = (folder / "manifest.json").read_bytes()
    assert here("verify", str(folder), "--json") == 6
    told = capsys.readouterr()
    error = json.loads(told.out)
    assert error["error"] == kind
    assert name in error["message"] + (error["where"] or "")
    assert "Traceback" not in told.err
    assert (folder / "manifest.json").read_bytes() == before


def test_a_newer_schema_is_refused(here, folder, capsys):
    edit_manifest(folder, lambda manifest: manifest.update(schema_version=99, shiny="new"))
    assert here("verify", str(folder), "--json") == 6
    error = json.loads(capsys.readouterr().out)
    assert error["error"] == "BundleSchemaError"
    assert "99" in error["message"]


def test_altered_weights_under_a_corrected_hash_are_found_by_the_figures(here, folder, capsys):
    scale_a_weight(folder / "model.onnx", 1.5)
    with_true_hash(folder, "model.onnx")
    assert here("verify", str(folder), *ONNX, "--json") == 1
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert (result["error"], result["exit_code"]) == ("GateError", 1)
    assert "onnx:fp32: output 'scores'" in result["message"]
    assert "of its range, the gate is 0.001" in told.err
    assert "--bisect" in result["remedy"]
    [parity] = [a["parity"] for a in result["artefacts"] if a["target"] == "onnx:fp32"]
    figures = {output["name"]: output for output in parity["outputs"]}
    assert figures["scores"]["relative_error"] > 0.01
    assert figures["features"]["relative_error"] < 1e-5
    # The bundle keeps what was found.
    assert not Bundle.open(folder).artefact("onnx").parity.passed


def test_another_network_under_the_manifest_does_not_pass(here, folder, capsys):
    import onnx
    from onnx import TensorProto, helper

    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [1, 10], [0.0] * 10)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["zeros"], ["scores"])],
        "impostor",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        [zeros],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    with_true_hash(folder, "model.onnx")
    assert here("verify", str(folder), *ONNX) == 1
    told = capsys.readouterr()
    assert "onnx:fp32" in told.err
    assert "does not run" in told.out
    assert "Traceback" not in told.err


def test_bytes_that_are_no_artefact_do_not_pass(here, folder, capsys):
    (folder / "model.tflite").write_bytes(b"TFL3" * 1000)
    with_true_hash(folder, "model.tflite")
    assert here("verify", str(folder), "--target", "litert") == 1
    assert "litert:fp32: " in capsys.readouterr().err


def test_samples_of_another_model_do_not_pass(here, folder, capsys):
    good = Samples.load(folder / "samples.safetensors")
    foreign = tuple({"other": array["scores"]} for array in good.expected)
    Samples(good.names, good.inputs, foreign, good.real).save(folder / "samples.safetensors")
    with_true_hash(folder, "samples.safetensors")
    assert here("verify", str(folder), *ONNX) == 1
    assert "has other, the artefact features, scores" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        (("--max-error", "0"), 1),
        (("--min-agreement", "1"), 0),
        (("--min-cosine", "-1", "--max-error", "1"), 0),
        (("--min-cosine", "1.1"), 2),
        (("--min-agreement", "-0.1"), 2),
        (("--threads", "0"), 2),
        (("--target", "onx"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_gates_and_options(here, folder, capsys, gate, code):
    target = () if "--target" in gate else ONNX
    assert here("verify", str(folder), *target, *gate, "--json") == code
    result = json.loads(capsys.readouterr().out)
    assert result.get("exit_code", 0) == code
    if gate == ("--max-error", "0"):
        assert "the gate is 0" in result["message"]
    if "onx" in gate:
        assert "onnx" in result["remedy"]


def test_only_the_named_artefact_is_run(folder):
    before = {
        artefact.target: artefact.parity for artefact in Bundle.open(folder).manifest.artefacts
    }
    steps: list[tuple[str, str]] = []
    after = verify(
        folder,
        targets=["onnx"],
        gates=Tolerances(cosine=0.5),
        on_progress=lambda target, step: steps.append((target, step)),
    )
    assert steps == [("onnx:fp32", "verifying"), ("onnx:fp32", "equal")]
    for artefact in after.manifest.artefacts:
        if artefact.target == "onnx:fp32":
            assert artefact.parity is not None and artefact.parity.gate.cosine == 0.5
        else:
            assert artefact.parity == before[artefact.target]


def test_a_runtime_that_is_not_installed_says_nothing_against_the_artefact(
    here, folder, tmp_path, monkeypatch, capsys
):
    hidden = tmp_path / "hidden" / "onnxruntime"
    hidden.mkdir(parents=True)
    # What Python says of a package that is not there, said in the runtime's process alone.
    (hidden / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    before = (folder / "manifest.json").read_bytes()
    assert here("verify", str(folder), *ONNX, "--json") == 3
    error = json.loads(capsys.readouterr().out)
    assert error["error"] == MissingBackendError.__name__
    assert error["remedy"] == 'pip install "edgesdk[onnx]"'
    assert Bundle.open(folder).artefact("onnx").parity.passed
    assert json.loads((folder / "manifest.json").read_bytes()) == json.loads(before)


@pytest.mark.skipif(os.geteuid() == 0, reason="nobody locks root out of a folder")
def test_a_bundle_that_cannot_be_written_to(here, folder):
    folder.chmod(0o500)
    try:
        assert here("verify", str(folder), *ONNX) == 3
    finally:
        folder.chmod(0o700)


class Fixed(Session):
    """Answers from memory; no runtime."""

    runtime, evaluator, note = "memory", False, ""

    def __init__(self, outputs):
        self.inputs = (TensorSpec("x", (1, 2)),)
        self.outputs = tuple(TensorSpec(name, array.shape) for name, array in outputs.items())
        self._arrays = list(outputs.values())

    def _run(self, arrays):
        return self._arrays

    def close(self):
        pass


def samples(expected, names=("a",)):
    inputs = tuple({"x": np.ones((1, 2), np.float32)} for _ in names)
    return Samples(tuple(names), inputs, tuple(expected for _ in names), 0)


def test_figures_by_hand():
    # Of a range of 4, 0.5 is an eighth.
    expected = {"y": np.array([[0.0, 4.0]], np.float32)}
    record = compare(
        Fixed({"y": np.array([[0.5, 4.0]], np.float32)}), samples(expected), GATES["fp32"]
    )
    [output] = record.outputs
    assert (output.max_abs, output.relative_error, output.agreement) == (0.5, 0.125, 1.0)
    assert output.cosine == pytest.approx(4 / np.sqrt(16.25))
    assert not record.passed
    assert verdict("onnx:fp32", record) == "not equal"


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        (np.array([[np.nan, 4.0]]), "holds NaN or infinity"),
        (np.array([[np.inf, 4.0]]), "holds NaN or infinity"),
        (np.array([[0.0, 4.0, 0.0]]), "has another shape"),
        (np.array([[4.0, 0.0]]), "top-1 agreement 0, the gate is 1"),
        (np.array([[0.0, 4.1]]), "off by 0.025 of its range, the gate is 0.001"),
    ],
    ids=["nan", "infinity", "shape", "class", "scale"],
)
def test_each_shortfall_in_words(exported, actual, words):
    expected = {"y": np.array([[0.0, 4.0]], np.float32)}
    gate = Tolerances(agreement=1.0).gate("fp32")
    record = compare(Fixed({"y": actual.astype(np.float32)}), samples(expected), gate)
    assert not record.passed
    manifest = Bundle.open(exported.path).manifest
    artefact: ArtefactRecord = manifest.artefacts[0].model_copy(update={"parity": record})
    with pytest.raises(GateError, match="1 of 1 target not proven") as caught:
        require_parity(manifest.model_copy(update={"artefacts": [artefact]}))
    assert words in caught.value.message


def test_nothing_to_compare_on_is_no_proof():
    with pytest.raises(BundleDamagedError, match="no sample"):
        compare(Fixed({"y": np.ones((1, 2))}), samples({"y": np.ones((1, 2))}, ()), GATES["fp32"])


@pytest.mark.parametrize(
    "bounds", [{"cosine": 2.0}, {"relative_error": float("inf")}, {"agreement": -1}]
)
def test_bounds_out_of_range(bounds):
    with pytest.raises(UsageError):
        Tolerances(**bounds)
