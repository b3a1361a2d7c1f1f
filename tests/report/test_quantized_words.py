"""Quantized artefacts are never called equal to the original, and weak proofs are named."""

from __future__ import annotations

import pytest

from edgesdk.bundle.manifest import (
    DEFAULT_VARIANTS,
    ConstantOutputRecord,
    DropRecord,
    FileRecord,
    artefact_name,
)
from edgesdk.cli.tables import classes_table
from edgesdk.converters.registry import TARGETS
from edgesdk.report.page import render
from edgesdk.report.summary import Status, summary_rows, warnings_of
from edgesdk.report.verdict import verdict

from .conftest import artefact, manifest, parity

SIMULATED = FileRecord(path="a.simulated.safetensors", sha256="5" * 64, size=10)
LOSS = DropRecord(
    metric="agreement", drop=0.012, passed=True, samples=8, agreement=0.988, cosine=0.99913
)


def quantized(**changes):
    given = {"quantization": "w8a8_static", "simulated": SIMULATED, "parity": parity()}
    return artefact("onnx:fp32", "a.onnx", 10, **{**given, "loss": LOSS, **changes})


def test_default_variants_are_those_of_the_targets() -> None:
    assert {name: target.variants[0] for name, target in TARGETS.items()} == DEFAULT_VARIANTS


@pytest.mark.parametrize(
    ("target", "recipe", "name"),
    [
        ("onnx:fp32", None, "onnx:fp32"),
        ("onnx:fp32", "w8a8_static", "onnx w8a8_static"),
        ("coreml:fp16", "palette4", "coreml palette4"),
        # Bundles from before fp16 was the default stay unambiguous.
        ("coreml:fp32", "palette4", "coreml:fp32 palette4"),
        ("executorch:portable", "w8a8_static", "executorch:portable w8a8_static"),
    ],
)
def test_names_leave_out_the_default_variant(target: str, recipe: str | None, name: str) -> None:
    assert artefact_name(target, recipe) == name


def test_a_quantized_artefact_is_as_simulated_with_its_loss_in_the_row() -> None:
    (row,) = summary_rows(manifest(artefacts=[quantized()]))
    assert (row.label, row.status) == ("onnx w8a8_static", Status.AS_SIMULATED)
    assert row.loss == "agreement 98.8 %, cosine 0.999130"
    assert "equal" not in str(verdict(manifest(artefacts=[quantized()])))


def test_a_mixed_bundle_counts_both_kinds() -> None:
    float_copy = artefact("litert:fp32", "a.tflite", 10, parity=parity())
    sentence = verdict(manifest(artefacts=[float_copy, quantized()])).sentence
    assert "1 copy equals the original within the parity gate" in sentence
    assert "1 quantized copy computes as simulated" in sentence


def test_an_artefact_without_simulation_is_neither_equal_nor_as_simulated() -> None:
    made = manifest(artefacts=[quantized(simulated=None)])
    (row,) = summary_rows(made)
    assert row.status is Status.NOT_SIMULATED and row.status.tone == "open"
    assert "1 runs without a simulation to compare with: onnx w8a8_static" in str(verdict(made))


def test_a_parity_of_constants_proves_nothing() -> None:
    output = artefact("onnx:fp32", "a.onnx", 10, parity=parity()).parity.outputs[0].name
    constant = ConstantOutputRecord(
        name=output, kind="constant", samples=3, variation=0, magnitude=1
    )
    float_copy = artefact("onnx:fp32", "a.onnx", 10, parity=parity())
    made = manifest(artefacts=[float_copy], constant_outputs=[constant])
    (row,) = summary_rows(made)
    assert row.status is Status.PROVES_NOTHING
    (warning,) = warnings_of(made)
    assert f"output {output!r} is the same for all 3 samples" in warning
    assert "--weights" in warning
    assert "proves nothing" in str(verdict(made)) and "equal" not in str(verdict(made))


def test_a_degenerate_evaluation_is_warned_of() -> None:
    weak = LOSS.model_copy(update={"degenerate": "the float model gives all 8 samples class 3"})
    (warning,) = warnings_of(manifest(artefacts=[quantized(loss=weak)]))
    assert warning.startswith("the loss against float says little: the float model gives all 8")
    assert "onnx w8a8_static" in warning
    assert warnings_of(manifest(artefacts=[quantized()])) == []


def test_the_page_shows_the_warnings_and_names_what_was_compared() -> None:
    weak = LOSS.model_copy(update={"degenerate": "all samples have class <b>3</b>"})
    page = render(manifest(artefacts=[quantized(loss=weak)]))
    assert "the loss against float says little: all samples have class &lt;b&gt;3" in page
    assert "Cosine distance to the simulation" in page
    plain = artefact("litert:fp32", "a.tflite", 10, parity=parity())
    page = render(manifest(artefacts=[plain]))
    assert 'class="warnings"' not in page and "Cosine distance to the original" in page
    both = render(manifest(artefacts=[plain, quantized()]))
    assert "Cosine distance to the original or the simulation" in both


def seen(*pairs: tuple[str, str, str]):
    return parity(classes=list(pairs))


def test_classes_that_all_artefacts_share_are_shown_once() -> None:
    same = seen(("cat.jpg", "tabby", "tabby"), ("dog.jpg", "beagle", "beagle"))
    made = manifest(
        artefacts=[
            artefact("onnx:fp32", "a", 1, parity=same),
            artefact("litert:fp32", "b", 1, parity=same),
        ]
    )
    table = classes_table(made)
    assert [column.header for column in table.columns] == [
        *("photograph", "the model sees", "the artefacts see")
    ]
    assert [str(cell) for cell in table.columns[2].cells] == ["the same", "the same"]
    other = seen(("cat.jpg", "tabby", "lynx"), ("dog.jpg", "beagle", "beagle"))
    differing = made.model_copy(
        update={"artefacts": [made.artefacts[0], artefact("litert:fp32", "b", 1, parity=other)]}
    )
    table = classes_table(differing)
    assert [column.header for column in table.columns][2:] == ["onnx:fp32", "litert:fp32"]
    assert [str(cell) for cell in table.columns[3].cells] == ["lynx", "beagle"]
