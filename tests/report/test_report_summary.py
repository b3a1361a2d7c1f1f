from __future__ import annotations

from edgesdk.bundle.manifest import GateRecord, Manifest, OutputParity
from edgesdk.report import COLUMNS, Status, summary_rows, verdict
from edgesdk.report.quantities import MISSING
from edgesdk.report.summary import missed_bounds


def changed(manifest: Manifest, index: int, **changes: object) -> Manifest:
    artefacts = list(manifest.artefacts)
    artefacts[index] = artefacts[index].model_copy(update=changes)
    return manifest.model_copy(update={"artefacts": artefacts})


def test_rows_say_what_became_of_each_target(full: Manifest) -> None:
    rows = summary_rows(full)
    assert [(row.label, row.status) for row in rows] == [
        ("executorch:xnnpack", Status.PASSED),
        ("coreml", Status.PASSED),
        ("litert int8-static", Status.NOT_AS_SIMULATED),
        ("onnx fp32", Status.PASSED),
        ("onnx fp16", Status.NOT_VERIFIED),
        ("executorch:vulkan", Status.FAILED),
    ]
    assert rows[2].reason == (
        "logits: cosine 0.971200 below 0.9999, relative error 0.11 above 0.001, "
        "top-1 agreement 75.0 % below 100 %"
    )
    assert rows[5].reason == "Vulkan has no aten.sort"


def test_cells_are_the_figures_in_words(full: Manifest) -> None:
    rows = summary_rows(full)
    cells = [dict(zip(COLUMNS, row.cells(), strict=True)) for row in rows]
    assert cells[0] == {
        "target": "executorch:xnnpack",
        "status": "✓ passed",
        "precision": "fp32",
        "size": "14.0 MB",
        "p50": "10.2 ms",
        "p90": "11.1 ms",
        "peak memory": "118 MB",
        "load": "41.7 ms",
        "cosine": "1.000000",
        "max abs": "1.1e-5",
        "relative": "5.1e-7",
        "SNR": "118.3 dB",
        "top-1": "100 %",
        "against float": "–",
        "delegated": "97.0 % in 3 partitions",
    }
    assert cells[1]["p50"] == "812 ms (evaluated)"
    assert cells[1]["status"] == "✓ passed (evaluated, not Apple's arithmetic)"
    assert set(cells[5].values()) == {"executorch:vulkan", "✗ failed", MISSING}


def test_an_artefact_that_does_not_run_is_no_numerical_miss(passed: Manifest) -> None:
    parity = passed.artefacts[0].parity
    assert parity is not None
    record = parity.model_copy(
        update={"passed": False, "failure": "error 0x14: sort.out is missing", "outputs": []}
    )
    manifest = changed(passed, 0, parity=record)
    row = summary_rows(manifest)[0]
    assert (row.status, row.reason) == (Status.NOT_RUN, "error 0x14: sort.out is missing")
    assert verdict(manifest).sentence == (
        "2 of 2 targets converted, 1 equals the original within the parity gate, "
        "1 does not run: onnx"
    )


def test_missed_bounds() -> None:
    gate = GateRecord(cosine=0.999, relative_error=1e-3)

    def output(**changes: object) -> OutputParity:
        record: dict[str, object] = {
            "name": "y",
            "max_abs": 0.0,
            "range": 1.0,
            "relative_error": 1e-3,
            "cosine": 0.999,
            "snr_db": None,
            "agreement": 0.0,
        }
        return OutputParity.model_validate(record | changes)

    assert missed_bounds(output(), gate) == []
    assert missed_bounds(output(finite=False, cosine=None), gate) == ["holds NaN or infinity"]
    assert missed_bounds(output(cosine=None, max_abs=None), gate) == ["cannot be compared"]
    assert missed_bounds(output(cosine=0.9989), gate) == ["cosine 0.998900 below 0.999"]


def test_the_verdict_names_who_leads_and_how_surely(full: Manifest) -> None:
    outcome = verdict(full)
    assert outcome.tone == "open"
    assert outcome.sentence == (
        "5 of 6 conversions succeeded (executorch:vulkan failed), 3 copies equal the original "
        "within the parity gate (coreml evaluated, not Apple's arithmetic), 1 does not compute as "
        "simulated: litert int8-static, 1 not verified: onnx fp16"
    )
    # LiteRT is faster and smaller, but missed its gate; an evaluator's latency is none.
    assert [(fact.title, fact.label, fact.figure) for fact in outcome.facts] == [
        ("ship on onnx", "onnx fp32", "9.70 ms"),
        ("among the fastest", "onnx fp32", "9.70 ms"),
        ("smallest", "coreml", "7.16 MB"),
        ("least memory", "executorch:xnnpack", "118 MB"),
    ]
    assert outcome.facts[1].note == (
        "AMD EPYC 7B13, 1 thread; as fast as executorch:xnnpack 10.2 ms, within its spread"
    )
    assert outcome.facts[3].note.endswith("onnx fp32 has the same")


def test_the_verdict_when_all_is_well(passed: Manifest) -> None:
    outcome = verdict(passed)
    assert outcome.tone == "good"
    assert str(outcome).startswith(
        "2 of 2 targets converted, all equal the original within the parity gate; "
        "fastest: onnx 9.70 ms (AMD EPYC 7B13, 1 thread); smallest: litert 14.1 MB; "
    )


def test_the_verdict_without_figures(
    empty: Manifest, failed_only: Manifest, partial: Manifest, evaluator_only: Manifest
) -> None:
    assert str(verdict(empty)) == "Nothing has been converted yet."
    assert verdict(empty).tone == "open"
    assert str(verdict(failed_only)) == "The one target failed to convert: litert."
    assert verdict(failed_only).tone == "bad"
    assert str(verdict(partial)) == (
        "onnx was converted, nothing has been compared with the original yet; "
        "size, not verified: onnx 14.2 MB."
    )
    # The evaluator's 812 ms are no latency of anything that ships.
    assert str(verdict(evaluator_only)) == (
        "coreml was converted, it equals the original within the parity gate "
        "(evaluated, not Apple's arithmetic); size: coreml 7.16 MB "
        "(parity evaluated, not Apple's arithmetic)."
    )


def test_figures_of_two_devices_are_never_compared(passed: Manifest) -> None:
    first = passed.artefacts[0].profiles[0]
    elsewhere = first.model_copy(update={"device": "adb:1", "device_name": "a phone"})
    rows = summary_rows(changed(passed, 0, profiles=[elsewhere]))
    assert rows[0].p50_ms is None and rows[0].condition is None
    assert rows[1].p50_ms == 20.0
    facts = {fact.title: fact for fact in verdict(changed(passed, 0, profiles=[elsewhere])).facts}
    assert "fastest" not in facts
    assert facts["latency"].label == "litert"


def test_the_newest_profile_of_a_condition_counts(passed: Manifest) -> None:
    first = passed.artefacts[0].profiles[0]
    newer = first.model_copy(update={"latency": first.latency.model_copy(update={"p50": 7.0})})
    assert summary_rows(changed(passed, 0, profiles=[first, newer]))[0].p50_ms == 7.0


def test_equal_names_differ_by_their_files(passed: Manifest) -> None:
    twin = passed.artefacts[0].model_copy(
        update={"file": passed.artefacts[0].file.model_copy(update={"path": "b.onnx"})}
    )
    manifest = passed.model_copy(update={"artefacts": [passed.artefacts[0], twin]})
    assert [row.label for row in summary_rows(manifest)] == [
        "onnx fp32 (a.onnx)",
        "onnx fp32 (b.onnx)",
    ]
