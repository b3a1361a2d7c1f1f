"""The main job, as a user does it: one command, four artefacts, each proven."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesdk import export
from edgesdk.bundle.bundle import Bundle
from edgesdk.host.cache import Cache
from edgesdk.host.digest import digest
from edgesdk.runtime.isolated import open_isolated

TARGETS = ["executorch:xnnpack", "coreml:fp16", "litert:fp32", "onnx:fp32"]
INPUT = ("--input", "image:1x3x32x32")


def test_every_target_is_converted_and_proven(exported):
    result = exported.ended.json
    assert result["bundle"] == "tiny.edge"
    assert [artefact["target"] for artefact in result["artefacts"]] == TARGETS
    assert result["failures"] == []
    for artefact in result["artefacts"]:
        assert artefact["parity"]["passed"], artefact["target"]
        assert artefact["parity"]["samples"] >= 3
        assert artefact["parity"]["real"] >= 1
        assert all(output["cosine"] > 0.99999 for output in artefact["parity"]["outputs"])
        assert artefact["conversion_seconds"] > 0
    bundle = Bundle.open(exported.path)
    plain = bundle.manifest.model_dump(mode="json")
    for record, shown in zip(plain["artefacts"], result["artefacts"], strict=True):
        # Facts of the tables stand beside the records.
        assert shown | record == shown
        assert shown["name"] == shown["target"] and shown["status"] == "passed"
        assert shown["against_float"] is None
    rest = {key: value for key, value in result.items() if key != "artefacts"}
    plain.pop("artefacts")
    assert rest == {"bundle": "tiny.edge", "warnings": [], **plain}


def test_progress_is_plain_lines_and_nothing_else_is_on_stderr(exported):
    lines = exported.ended.err.splitlines()
    steps = [line for line in lines if re.match(r" *\d+\.\d s  [\w:]+: \w", line)]
    assert [line for line in lines if line not in steps and not line.startswith("note: ")] == []
    assert any("model: loading torch" in line for line in steps)
    assert sum(line.endswith(": equal") for line in steps) == 4
    assert "\x1b" not in exported.ended.err


def test_a_model_left_in_training_mode_is_switched_and_that_is_noted(exported):
    [note] = exported.ended.json["notes"]
    assert "training mode" in note
    assert f"note: {note}" in exported.ended.err


def test_inputs_and_outputs_keep_their_names_in_every_runtime(exported):
    bundle = Bundle.open(exported.path)
    for artefact in bundle.manifest.artefacts:
        # Nothing of the manifest is told to the runtime: these names lie in the artefact itself.
        with open_isolated(bundle.path_of(artefact), timeout=120) as session:
            suffix = artefact.file.path.rpartition(".")[2]
            if suffix != "pte":
                assert [spec.name for spec in session.inputs] == ["image"], suffix
                assert sorted(spec.name for spec in session.outputs) == ["features", "scores"]
            shapes = sorted(spec.shape for spec in session.outputs)
            assert shapes == [(1, 10), (1, 16, 8, 8)]


def test_the_bundle_holds_what_the_manifest_names_and_no_more(exported):
    bundle = Bundle.open(exported.path)
    named = {record.file.path for record in bundle.manifest.artefacts}
    named |= {"manifest.json", "program.pt2", "samples.safetensors"}
    assert {path.name for path in exported.path.iterdir()} == named
    assert not list(exported.path.parent.glob(".*partial"))
    for path in exported.path.rglob("*"):
        # What one user exports, another on the same machine may read, as of any other file.
        assert path.stat().st_mode & 0o444 == 0o444 & ~_umask(), path.name


def _umask() -> int:
    line = next(
        text
        for text in Path("/proc/self/status").read_text().splitlines()
        if text.startswith("Umask")
    )
    return int(line.split()[1], 8)


def test_artefacts_tell_nothing_of_the_machine(exported, project):
    for name in ("model.pte", "model.tflite", "model.onnx", "model.mlpackage"):
        path = exported.path / name
        files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
        for file in files:
            content = file.read_bytes()
            assert str(project).encode() not in content, file
            assert b"nets/tiny.py" not in content, file


def test_the_second_export_is_served_from_the_cache_with_the_same_bytes(exported, edgesdk_command):
    again = edgesdk_command("export", "nets/tiny.py:build", *INPUT, "-o", "again.edge", "--json")
    assert again.code == 0, again.err
    before, after = exported.ended.json, again.json
    assert after["name"] == "again"
    assert [artefact["conversion_seconds"] for artefact in after["artefacts"]] == [None] * 4
    for old, new in zip(before["artefacts"], after["artefacts"], strict=True):
        assert new["file"]["sha256"] == old["file"]["sha256"]
        assert new["parity"] == old["parity"]
    assert "converting" not in again.err
    assert Bundle.open(edgesdk_command.folder / "again.edge").manifest.name == "again"


@pytest.mark.parametrize(
    ("change", "options"),
    [
        pytest.param(
            lambda text: text.replace("manual_seed(0)", "manual_seed(1)"), (), id="weights"
        ),
        pytest.param(
            lambda text: text.replace(".mean((2, 3))", ".amax((2, 3))"),
            (),
            id="code",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda text: text, ("--image", "unit"), id="option", marks=pytest.mark.slow),
    ],
)
def test_what_decides_the_artefact_misses_the_cache(
    exported, edgesdk_command, tmp_path, change, options
):
    project = shutil.copytree(edgesdk_command.folder / "nets", tmp_path / "nets")
    file = project / "tiny.py"
    file.write_text(change(file.read_text()))
    # The place alone is no reason to convert again; ONNX is the quickest to convert.
    ended = edgesdk_command(
        *("export", f"{file}:build", *INPUT, "--to", "onnx", "-o", str(tmp_path / "other.edge")),
        *(*options, "--json"),
    )
    assert ended.code == 0, ended.err
    [artefact] = ended.json["artefacts"]
    assert artefact["conversion_seconds"] is not None
    old = exported.ended.json["artefacts"][3]
    assert artefact["file"]["sha256"] != old["file"]["sha256"]


@pytest.mark.slow
def test_the_python_api_without_cache_gives_the_same_bytes(exported, here, tmp_path):
    """Two runs, two processes: every artefact is the same, bit by bit."""
    path = tmp_path / "tiny.edge"
    steps: list[tuple[str, str]] = []
    bundle = export(
        "nets/tiny.py:build",
        inputs="image:1x3x32x32",
        output=path,
        on_progress=lambda target, step: steps.append((target, step)),
    )
    for artefact in exported.ended.json["artefacts"]:
        name = artefact["file"]["path"]
        assert digest(path / name) == artefact["file"]["sha256"], name
    assert bundle.manifest.artefacts[0].conversion_seconds
    assert ("onnx:fp32", "converting") in steps


def test_a_model_object_and_an_example_are_enough(tmp_path, cache_folder):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3), torch.nn.Dropout(0.9))
    assert model.training
    bundle = export(
        model,
        torch.randn(1, 3, 4),
        targets="onnx",
        output=tmp_path / "net.edge",
        cache=Cache(cache_folder),
        reference=False,
    )
    assert model.training, "the user's own object keeps its mode"
    [artefact] = bundle.manifest.artefacts
    assert artefact.parity is not None and artefact.parity.passed
    assert bundle.manifest.source.model.endswith("Sequential")
    assert bundle.manifest.reference.program is None
    assert not (bundle.path / "program.pt2").exists()
    assert any("training mode" in note for note in bundle.manifest.notes)
    x = np.random.default_rng(0).standard_normal((1, 3, 4)).astype(np.float32)
    with open_isolated(bundle.path_of(artefact)) as session:
        [name] = [spec.name for spec in session.inputs]
        [actual] = session.run({name: x}).values()
    with torch.inference_mode():
        expected = model.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.slow
def test_variants_of_one_target_side_by_side(edgesdk_command):
    ended = edgesdk_command(
        *("export", "nets/tiny.py:build", *INPUT, "-o", "variants.edge", "--json", "--to"),
        "executorch:portable,executorch:vulkan,executorch:coreml,coreml:fp16",
    )
    # What runs on the phone only is recorded and no missed gate.
    assert ended.code == 0, ended.err
    records = {artefact["target"]: artefact for artefact in ended.json["artefacts"]}
    files = [record["file"]["path"] for record in records.values()]
    assert files == [
        "model-portable.pte",
        "model-vulkan.pte",
        "model-coreml.pte",
        "model-fp16.mlpackage",
    ]
    assert records["executorch:portable"]["parity"]["passed"]
    for target in ("executorch:vulkan", "executorch:coreml"):
        parity = records[target]["parity"]
        assert not parity["passed"]
        assert parity["note"] == "this backend runs on the phone only"
        assert f"{target}: runs on the phone only" in ended.err
        assert records[target]["coverage"]["delegated"]
    half = records["coreml:fp16"]
    assert half["precision"] == "fp16"
    assert half["parity"]["passed"]
    assert half["parity"]["gate"] == {"cosine": 0.999, "relative_error": 0.02, "agreement": None}
    # Weights and arithmetic are halved, the face is not.
    assert {spec["dtype"] for spec in (*half["inputs"], *half["outputs"])} == {"float32"}
    again = edgesdk_command("verify", "variants.edge", "--json")
    assert again.code == 0, again.err


@pytest.mark.slow
def test_int64_inputs_and_outputs_named_like_operators(edgesdk_command):
    ended = edgesdk_command("export", "nets/tiny.py:tokens", "-o", "tokens.edge", "--json")
    assert ended.code == 0, ended.err
    for artefact in ended.json["artefacts"]:
        assert artefact["parity"]["passed"], artefact["target"]
        assert {spec["name"] for spec in artefact["inputs"]} == {"ids", "scale"}
        assert {spec["name"] for spec in artefact["outputs"]} == {"logits", "embedding"}
    dtypes = {
        a["target"]: {s["name"]: s["dtype"] for s in a["inputs"]} for a in ended.json["artefacts"]
    }
    assert dtypes["onnx:fp32"]["ids"] == dtypes["executorch:xnnpack"]["ids"] == "int64"
    assert dtypes["litert:fp32"]["ids"] == dtypes["coreml:fp16"]["ids"] == "int32"
    assert any("'ids' is int32" in note for note in ended.json["artefacts"][2]["notes"])


def test_artefacts_do_not_say_where_the_code_of_the_sdk_lies(camera_bundle: Any) -> None:
    # Operators are named after the classes around the model: a moved class would change the bytes.
    folder = camera_bundle.path
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    for artefact in manifest["artefacts"]:
        path = folder / artefact["file"]["path"]
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        for file in files:
            content = file.read_bytes()
            rooms = set(re.findall(rb"edgesdk\.(?!face\.ImagePreprocessing)[\w.]+", content))
            assert not rooms, file


def test_the_bundle_is_readable_json(exported: object, copy_of: Callable[[Path], Path]):
    folder = copy_of(exported.path)  # type: ignore[attr-defined]
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["schema_version"] == 7
    assert manifest["source"]["spec"] == "nets/tiny.py:build"


def test_files_of_a_bundle_have_the_modes_of_the_umask(exported):
    umask = os.umask(0)
    os.umask(umask)
    paths = [exported.path, *exported.path.rglob("*")]
    modes = {path: path.stat().st_mode & 0o777 for path in paths}
    expected = {path: (0o777 if path.is_dir() else 0o666) & ~umask for path in paths}
    assert modes == expected
    assert any(path.suffix == ".mlpackage" for path in paths)
