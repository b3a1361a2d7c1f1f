"""A bundle at a prompt and in a notebook, and its artefacts by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import FailureRecord
from edgesdk.errors import UnknownNameError

Make = Callable[..., Bundle]


def test_artefacts_are_found_by_name(tmp_path: Path, make_bundle: Make) -> None:
    bundle = make_bundle(tmp_path / "net.edge")
    assert bundle["onnx"] is bundle.artefact("onnx")
    assert "onnx" in bundle and "onnxx" not in bundle and 3 not in bundle
    assert [record.target for record in bundle] == [r.target for r in bundle.manifest.artefacts]
    assert len(bundle) == len(bundle.manifest.artefacts) and bundle
    with pytest.raises(UnknownNameError, match="did you mean 'onnx"):
        bundle["onxx"]


def test_a_prompt_shows_every_artefact_and_failure(tmp_path: Path, make_bundle: Make) -> None:
    bundle = make_bundle(tmp_path / "net.edge")
    lines = repr(bundle).splitlines()
    assert lines[0] == f"Bundle {bundle.path.name}: {bundle.manifest.name}"
    assert "image 1x32x32x3" not in lines[1] and "image 1x3x32x32 float32" in lines[1]
    assert "logits 1x10 float32" in lines[2]
    assert any("onnx" in line and "passed" in line and "cosine 1.000000" in line for line in lines)
    assert len(lines) <= 15


def test_a_prompt_stays_within_15_lines(tmp_path: Path, make_bundle: Make) -> None:
    bundle = make_bundle(tmp_path / "net.edge")
    manifest = bundle.manifest
    failure = FailureRecord(target="litert:fp32", error="ConversionError", message="x " * 500)
    many = manifest.model_copy(
        update={
            "artefacts": list(manifest.artefacts) * 40,
            "failures": [failure] * 60,
            "name": "long\nname " * 50,
        }
    )
    lines = repr(Bundle(bundle.path, many)).splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 120
    assert f"and {len(many.artefacts) - 10} more" in lines[-2]


def test_a_notebook_shows_an_escaped_table(tmp_path: Path, make_bundle: Make) -> None:
    bundle = make_bundle(tmp_path / "net.edge")
    failure = FailureRecord(target="litert:fp32", error="E", message='<script>alert("x")</script>')
    update = {"failures": [failure], "name": "<b>bold</b>"}
    shown = Bundle(bundle.path, bundle.manifest.model_copy(update=update))._repr_html_()
    assert "<script" not in shown and "<b>" not in shown
    assert "&lt;script&gt;" in shown and "&lt;b&gt;bold" in shown
    rows = re.findall(r"<tr><td>", shown)
    assert len(rows) == len(bundle.manifest.artefacts) + 1
    assert shown.count("<td>") > len(rows)
