"""What to ship, and the section on quantization: from manifests made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from edgesdk.bundle.manifest import (
    ArtefactRecord,
    CalibrationRecord,
    DropRecord,
    LayerSensitivityRecord,
    Manifest,
    QuantizationRecord,
    QuantizedLayerRecord,
    SensitivityRecord,
)
from edgesdk.report import render, suggestions


@pytest.fixture
def quantized(full: Manifest) -> Any:
    """Makes a manifest of one target out of (recipe, size, latency, drop, bound, proven)."""
    base = next(one for one in full.artefacts if one.parity and one.parity.passed and one.profiles)

    def make(*rows: tuple[str, int, float | None, float | None, float | None, bool]) -> Manifest:
        artefacts = []
        for recipe, size, p50, drop, bound, proven in rows:
            assert base.parity is not None
            profiles = []
            if p50 is not None:
                latency = base.profiles[0].latency.model_copy(update={"p50": p50})
                profiles = [base.profiles[0].model_copy(update={"latency": latency})]
            file = base.file.model_copy(update={"path": f"{recipe}.onnx", "size": size})
            changes: dict[str, Any] = {
                "target": "onnx:fp32",
                "file": file,
                "parity": base.parity.model_copy(update={"passed": proven}),
                "profiles": profiles,
            }
            if recipe != "fp32":
                changes |= {"quantization": recipe, "quantized": _record(recipe, drop, bound)}
            artefacts.append(base.model_copy(update=changes))
        return full.model_copy(update={"artefacts": artefacts, "failures": []})

    return make


def _record(recipe: str, drop: float | None, bound: float | None) -> QuantizationRecord:
    measured = None
    if drop is not None:
        measured = DropRecord(
            metric="agreement",
            drop=drop,
            bound=bound,
            passed=bound is None or drop <= bound,
            samples=200,
            source="200 photographs",
            agreement=1 - drop,
            containment=1.0,
            cosine=0.99,
        )
    return QuantizationRecord(
        recipe=recipe,
        weights={8: 900, 32: 100},
        layers=[
            QuantizedLayerRecord(path="stem", operator="conv2d", weights=900, bits=8),
            QuantizedLayerRecord(
                path="<b>head</b>", operator="linear", weights=100, bits=32, reason="no kernel"
            ),
        ],
        float_layers=["stem.norm"],
        float_operators={"GELU": 2},
        calibration=CalibrationRecord(method="mse", samples=64, source="photos"),
        drop=measured,
    )


def test_the_fastest_that_loses_little_is_suggested(quantized: Any) -> None:
    (found,) = suggestions(
        quantized(
            ("fp32", 1000, 10.0, None, None, True),
            ("w8a8_static", 260, 5.0, 0.01, None, True),
            ("w4_only", 150, 4.0, 0.30, None, True),
            ("fp16", 500, 9.0, 0.0, None, True),
        )
    )
    assert found.recipe == "w8a8_static"
    assert "26.0 % of its size" in found.reason
    assert "1 left out: drop too large" in found.reason
    assert found.drop == 0.01


def test_a_quantization_that_is_slower_is_not_suggested(quantized: Any) -> None:
    (found,) = suggestions(
        quantized(
            ("fp32", 1000, 10.0, None, None, True), ("w8a8_static", 260, 14.0, 0.0, None, True)
        )
    )
    assert found.recipe == "fp32"


def test_of_those_as_fast_the_smaller(quantized: Any) -> None:
    (found,) = suggestions(
        quantized(("fp32", 1000, 10.0, None, None, True), ("w8_only", 260, 10.3, 0.0, None, True))
    )
    assert found.recipe == "w8_only"


def test_what_is_not_proven_or_not_measured_is_not_suggested(quantized: Any) -> None:
    (found,) = suggestions(
        quantized(
            ("fp32", 1000, 10.0, None, None, True),
            ("w8a8_static", 260, 1.0, 0.0, None, False),
            ("w8_only", 250, 1.0, None, None, True),
        )
    )
    assert found.recipe == "fp32"


def test_the_bound_decides_in_place_of_two_percent(quantized: Any) -> None:
    rows = lambda bound: (  # noqa: E731
        ("fp32", 1000, 10.0, None, None, True),
        ("w4_only", 150, 4.0, 0.04, bound, True),
    )
    assert suggestions(quantized(*rows(None)))[0].recipe == "fp32"
    assert suggestions(quantized(*rows(0.05)))[0].recipe == "w4_only"


def test_without_latencies_the_smallest(quantized: Any) -> None:
    (found,) = suggestions(
        quantized(("fp32", 1000, None, None, None, True), ("palette4", 130, None, 0.01, None, True))
    )
    assert found.recipe == "palette4"
    assert "latencies were not measured" in found.reason


def test_a_single_artefact_needs_no_suggestion(quantized: Any) -> None:
    assert suggestions(quantized(("fp32", 1000, 10.0, None, None, True))) == []


def test_the_page_shows_losses_gates_and_layers(quantized: Any) -> None:
    made = quantized(
        ("fp32", 1000, 10.0, None, None, True),
        ("w8a8_static", 260, 5.0, 0.01, 0.02, True),
        ("w4_only", 150, 4.0, 0.30, 0.02, True),
    )
    sensitivity = SensitivityRecord(
        recipe="w8a8_static",
        samples=32,
        layers=[
            LayerSensitivityRecord(
                path="stem", operator="conv2d", weights=900, snr_db=20.0, where="net.py:4"
            ),
            LayerSensitivityRecord(path="<script>", operator="linear", weights=100),
        ],
    )
    page = render(made.model_copy(update={"sensitivity": [sensitivity]}))
    assert 'id="quantization"' in page
    assert "(26.0 %)" in page
    assert "(2.00×)" in page
    assert "missed, 2.0 % allowed" in page
    assert "met, 2.0 % allowed" in page
    assert "Ranges from 64 of photos, mse" in page
    assert "GELU × 2" in page
    assert "net.py:4" in page
    # Names are untrusted.
    assert "<b>head</b>" not in page
    assert "<script>" not in page


def test_a_page_without_quantization_has_no_such_section(full: Manifest) -> None:
    assert 'id="quantization"' not in render(full)
    assert all(isinstance(one, ArtefactRecord) for one in full.artefacts)
