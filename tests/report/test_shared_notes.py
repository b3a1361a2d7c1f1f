"""Notes that several artefacts share."""

from __future__ import annotations

from typing import Any

import pytest

from edgesdk.bundle.manifest import ArtefactRecord, Manifest, RewriteRecord
from edgesdk.cli.export import _notes_of_artefacts
from edgesdk.report.labels import notes_by_artefacts, rewrites_by_artefacts
from edgesdk.report.page import render

SLOW = "XNNPACK has no 16-bit kernels"
WIDE = "2 layers have 8-bit weights"


@pytest.fixture
def noted(passed: Manifest) -> Manifest:
    rewrite = RewriteRecord(operator="aten.pad", module="stem", where="net.py:4", reason="no mode")
    plain = passed.artefacts[0].model_copy(update={"notes": [], "rewrites": []})

    def artefact(target: str, path: str, recipe: str | None = None, **more: Any) -> ArtefactRecord:
        file = plain.file.model_copy(update={"path": path})
        changes = {"target": target, "file": file, "quantization": recipe, **more}
        return plain.model_copy(update=changes)

    records = [
        artefact("litert:fp32", "model.tflite", rewrites=[rewrite]),
        artefact("litert:fp32", "a.tflite", "w4a8", notes=[SLOW], rewrites=[rewrite]),
        artefact("litert:fp32", "b.tflite", "w4_only", notes=[WIDE, SLOW]),
        artefact("onnx:fp32", "model.onnx"),
    ]
    return passed.model_copy(update={"artefacts": records})


def test_a_note_of_several_artefacts_is_listed_once(noted: Manifest) -> None:
    labels = ["a", "b", "c", "d"]
    assert notes_by_artefacts(noted, labels) == [(["b", "c"], [SLOW]), (["c"], [WIDE])]
    [(names, rewrites)] = rewrites_by_artefacts(noted, labels)
    assert names == ["a", "b"]
    assert [rewrite.operator for rewrite in rewrites] == ["aten.pad"]


def test_labels_belong_to_artefacts(noted: Manifest) -> None:
    with pytest.raises(ValueError, match="shorter"):
        notes_by_artefacts(noted, ["a"])


def test_the_terminal_names_all_artefacts_in_one_line(noted: Manifest) -> None:
    assert _notes_of_artefacts(noted) == [
        f"litert w4a8, litert w4_only: {SLOW}",
        f"litert w4_only: {WIDE}",
        "litert:fp32, litert w4a8: rewrote aten.pad at net.py:4: no mode",
    ]


def test_the_page_has_each_note_once(noted: Manifest) -> None:
    page = render(noted)
    assert page.count(SLOW) == page.count(WIDE) == page.count("no mode") == 1
    assert "Notes on litert w4a8, litert w4_only" in page
