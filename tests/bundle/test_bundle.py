"""Opening and updating honest bundles, and the bytes of their manifest."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import (
    FileRecord,
    Manifest,
    manifest_bytes,
    manifest_schema,
    parse_manifest,
)
from edgesdk.errors import (
    BundleDamagedError,
    BundleSchemaError,
    BundleUnsafeError,
    InputNotFoundError,
    UnknownNameError,
)
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec

ROOT = Path(__file__).parents[2]

Make = Callable[..., Bundle]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def changed(bundle: Bundle, **changes: object) -> Manifest:
    return bundle.manifest.model_copy(update=changes)


def test_round_trip(tmp_path: Path, make_bundle: Make) -> None:
    written = make_bundle(tmp_path / "net.edge")
    opened = Bundle.open(tmp_path / "net.edge")
    assert opened == written
    assert opened.manifest.inputs[0].dynamic == {0: DynamicDim("batch", 1, 4)}
    camera = opened.artefact("coreml").inputs[0]
    assert isinstance(camera, TensorSpec)
    assert isinstance(camera.image, ImageSpec)
    assert camera.image.mean == (0.485, 0.456, 0.406)
    assert names(tmp_path / "net.edge") == [
        "manifest.json",
        "program.pt2",
        "samples.safetensors",
        "tiny.mlpackage",
        "tiny.onnx",
    ]
    assert names(tmp_path) == ["net.edge", "sources"]
    assert (tmp_path / "sources" / "m.onnx").exists()


def test_open_takes_text_and_a_link_to_the_bundle(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle_path)
    assert Bundle.open(str(tmp_path / "link")).manifest == Bundle.open(bundle_path).manifest


def test_paths_and_samples(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    onnx = bundle.artefact("onnx")
    assert bundle.path_of(onnx) == bundle.path_of(onnx.file) == bundle_path / "tiny.onnx"
    assert bundle.program_path() == bundle_path / "program.pt2"
    samples = bundle.samples()
    assert samples.names == ("random 1",)
    assert samples.expected[0]["logits"].shape == (1, 10)
    with pytest.raises(BundleUnsafeError):
        bundle.path_of(FileRecord(path="../x", sha256="0" * 64, size=0))


def test_bundle_without_program(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    reference = bundle.manifest.reference.model_copy(update={"program": None})
    assert bundle.update(changed(bundle, reference=reference)).program_path() is None


def test_files_the_manifest_does_not_name_are_let_be(bundle_path: Path) -> None:
    (bundle_path / "report.html").write_text("<p>")
    assert Bundle.open(bundle_path).manifest.name == "tiny"


def with_targets(bundle: Bundle, *targets: str) -> Bundle:
    artefact = bundle.manifest.artefacts[0]
    records = [
        artefact.model_copy(
            update={
                "target": target,
                "file": artefact.file.model_copy(update={"path": f"{index}.pte"}),
            }
        )
        for index, target in enumerate(targets)
    ]
    return Bundle(bundle.path, changed(bundle, artefacts=records))


def test_artefact_by_target(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    one = with_targets(bundle, "executorch:xnnpack", "onnx")
    assert one.artefact("executorch").target == "executorch:xnnpack"
    assert one.artefact("executorch:xnnpack").target == "executorch:xnnpack"
    two = with_targets(bundle, "executorch:xnnpack", "executorch:vulkan")
    with pytest.raises(UnknownNameError, match="executorch:xnnpack, executorch:vulkan"):
        two.artefact("executorch")
    with pytest.raises(UnknownNameError, match="did you mean 'executorch:vulkan'"):
        two.artefact("executorch:vulcan")
    same = with_targets(bundle, "onnx", "onnx")
    with pytest.raises(UnknownNameError, match=r"onnx fp32 \(0\.pte\), onnx fp32 \(1\.pte\)"):
        same.artefact("onnx")
    assert same.artefact("1.pte").file.path == "1.pte"
    with pytest.raises(UnknownNameError, match="no artefact"):
        with_targets(bundle).artefact("onnx")


def test_same_manifest_same_bytes(bundle_path: Path) -> None:
    content = (bundle_path / "manifest.json").read_bytes()
    assert manifest_bytes(parse_manifest(content)) == content
    assert content.endswith(b"}\n")
    assert content.startswith(b'{\n "schema_version": 7,\n')
    assert json.loads(content)["inputs"][0]["dynamic"] == {
        "0": {"name": "batch", "min": 1, "max": 4, "multiple": 1}
    }


def test_manifest_keeps_text_of_every_language(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    notes = ["Größe 大きさ 🐈", 'quoted "\\ \n line']
    bundle.update(changed(bundle, notes=notes))
    assert Bundle.open(bundle_path).manifest.notes == notes
    assert "大きさ" in (bundle_path / "manifest.json").read_text("utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 7},
        {"inputs": ["x"]},
        {"artefacts": [1]},
        {"notes": ["\ud800"]},
        {"versions": {"a": float("nan")}},
    ],
)
def test_a_wrong_manifest_is_not_written(bundle_path: Path, changes: dict[str, object]) -> None:
    # model_copy checks nothing, so writing has to.
    before = (bundle_path / "manifest.json").read_bytes()
    bundle = Bundle.open(bundle_path)
    with pytest.raises(BundleSchemaError):
        bundle.update(changed(bundle, **changes))
    assert (bundle_path / "manifest.json").read_bytes() == before


def test_schema_file_is_up_to_date() -> None:
    checked_in = ROOT / "docs" / "manifest.schema.json"
    assert checked_in.read_text("utf-8") == manifest_schema(), (
        "write edgesdk.bundle.manifest.json.manifest_schema() to docs/manifest.schema.json"
    )


def test_example_in_the_docs_is_a_manifest() -> None:
    text = (ROOT / "docs" / "bundle-format.md").read_text("utf-8")
    blocks = re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1
    content = blocks[0].encode()
    assert manifest_bytes(parse_manifest(content)) == content


def test_docs_name_every_field_of_the_schema() -> None:
    text = (ROOT / "docs" / "bundle-format.md").read_text("utf-8")
    schema = json.loads(manifest_schema())
    objects = [schema, *schema["$defs"].values()]
    fields = {field for entry in objects for field in entry.get("properties", {})}
    assert {field for field in fields if f"`{field}`" not in text} == set()


def test_update_replaces_the_manifest_alone(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    updated = bundle.update(changed(bundle, notes=["new"]))
    assert updated.manifest.notes == ["new"]
    assert Bundle.open(bundle_path) == updated
    assert not [name for name in names(bundle_path) if "partial" in name]


def test_update_refuses_files_that_are_not_there(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    with pytest.raises(BundleDamagedError, match=r"0\.pte"):
        bundle.update(with_targets(bundle, "onnx").manifest)
    assert Bundle.open(bundle_path) == bundle


def test_update_in_a_folder_that_went_away(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    shutil.rmtree(bundle_path)
    with pytest.raises(InputNotFoundError):
        bundle.update(bundle.manifest)
