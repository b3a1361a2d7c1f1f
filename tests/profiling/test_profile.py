from __future__ import annotations

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import ArtefactRecord, Manifest, ReferenceRecord, SourceRecord
from edgesdk.bundle.samples import Samples
from edgesdk.bundle.writer import BundleWriter
from edgesdk.devices import Case, Device, Figures, Measurement
from edgesdk.errors import (
    BundleError,
    DeviceError,
    InputNotFoundError,
    SessionCrashError,
    SessionError,
    UnknownNameError,
    UsageError,
)
from edgesdk.profiling.profile import profile, select_artefacts
from edgesdk.spec import TensorSpec

FAULTY = Path(__file__).parents[1] / "faulty_runtime"
tiny_onnx = runpy.run_path(str(FAULTY / "tiny_onnx.py"))["tiny_onnx"]

X = TensorSpec("x", (1, 4))
Y = TensorSpec("y", (1, 3))


def write_bundle(
    folder: Path, artefacts: dict[str, tuple[str, Path]], input_spec: TensorSpec = X
) -> Bundle:
    """A bundle of artefacts given as ``{target: (file name, file)}``."""
    samples = folder / "samples.safetensors"
    Samples(
        ("random 1",),
        ({"x": np.array([[1, 2, 3, 4]], dtype=np.float32)},),
        ({"y": np.array([[20, 10, 0]], dtype=np.float32)},),
        real=0,
    ).save(samples)
    with BundleWriter(folder / "tiny.edge") as writer:
        reference = ReferenceRecord(samples=writer.add(samples, "samples.safetensors"))
        records = [
            ArtefactRecord(
                target=target, file=writer.add(file, name), inputs=[input_spec], outputs=[Y]
            )
            for target, (name, file) in artefacts.items()
        ]
        source = SourceRecord(
            spec="tiny", model="Tiny", sha256="0" * 64, parameters=12, operators=2
        )
        return writer.commit(
            Manifest(
                name="tiny",
                versions={},
                source=source,
                inputs=[X],
                outputs=[Y],
                reference=reference,
                artefacts=records,
            )
        )


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(
        tmp_path,
        {
            "onnx": ("tiny.onnx", tiny_onnx(tmp_path / "a.onnx")),
            "onnx:again": ("again.onnx", tiny_onnx(tmp_path / "b.onnx")),
        },
    )


class Scripted(Device):
    """A device whose measurements are known beforehand, for what happens around them."""

    identifier = "scripted"
    name = "a scripted device"

    def __init__(self, answer):
        self.answer = answer
        self.seen: list[tuple[list[Case], object]] = []

    def measure(self, cases, protocol, on_progress=None):
        self.seen.append((list(cases), protocol))
        return [self.answer(case) for case in cases]


def measured(case: Case) -> Measurement:
    figures = Figures("runtime 1.0", False, (3.0, 1.0, 2.0), (9.0, 7.0, 8.0), (4.0, 6.0), 1000, 400)
    return Measurement(case, protocol="as scripted", figures=figures)


def test_a_real_bundle_on_this_machine(bundle):
    steps = []
    result = profile(bundle, runs=4, on_progress=steps.append)
    assert [entry.target for entry in result.artefacts] == ["onnx", "onnx:again"]
    assert result.failures == result.skipped == []
    assert steps[-1].done == steps[-1].total - 1
    reopened = Bundle.open(bundle.path)
    assert reopened.manifest == result.bundle.manifest
    for entry, artefact in zip(result.artefacts, reopened.manifest.artefacts, strict=True):
        assert artefact.profiles == [entry.record]
        record = entry.record
        assert (record.device, record.threads, record.runs) == ("local", 1, 4)
        assert record.device_name == result.device_name
        assert record.runtime.startswith("onnxruntime")
        assert not record.evaluator
        latency = record.latency
        assert 0 < latency.min <= latency.p10 <= latency.p50 <= latency.p90 <= latency.p99
        assert latency.p99 <= latency.max
        assert latency.min <= latency.mean <= latency.max
        assert record.load_ms > 0
        assert record.first_run_ms > 0
        assert 0 < record.model_memory_bytes < record.peak_memory_bytes
        assert sum(row.share for row in record.operators) == pytest.approx(1, abs=1e-6)
        assert "alternating between 2 artefacts" in record.protocol
        assert record.measured.endswith("+00:00")


def test_a_crash_is_told_and_the_other_profile_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FAULTY))
    bundle = write_bundle(
        tmp_path,
        {
            "onnx": ("good.onnx", tiny_onnx(tmp_path / "a.onnx")),
            "onnx:bad": ("bad.onnx", tiny_onnx(tmp_path / "b.onnx", "crash")),
        },
    )
    result = profile(bundle.path, runs=2)
    (failed,) = result.failures
    assert failed.target == "onnx:bad"
    assert failed.file == "bad.onnx"
    assert isinstance(failed.failure, SessionCrashError)
    assert len(result.records) == 1
    good, bad = Bundle.open(bundle.path).manifest.artefacts
    assert len(good.profiles) == 1
    assert bad.profiles == []


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Core ML")
def test_core_ml_off_a_mac_is_skipped_with_a_word(tmp_path):
    package = tmp_path / "a.mlpackage"
    package.mkdir()
    (package / "Manifest.json").write_text("never read")
    bundle = write_bundle(
        tmp_path,
        {
            "coreml": ("tiny.mlpackage", package),
            "onnx": ("tiny.onnx", tiny_onnx(tmp_path / "a.onnx")),
        },
    )
    result = profile(bundle, runs=1)
    (entry,) = result.skipped
    assert entry.target == "coreml"
    assert "evaluator" in entry.skipped
    assert entry.record is None
    assert result.failures == []
    assert len(result.records) == 1
    core_ml, onnx = Bundle.open(bundle.path).manifest.artefacts
    assert core_ml.profiles == []
    assert onnx.profiles == result.records


def test_an_evaluator_that_was_asked_for_is_marked(bundle):
    def evaluated(case):
        measurement = measured(case)
        return replace(measurement, figures=replace(measurement.figures, evaluator=True))

    device = Scripted(evaluated)
    result = profile(bundle, device=device, include_evaluators=True)
    assert [record.evaluator for record in result.records] == [True, True]
    assert device.seen[0][1].include_evaluators


def test_profiles_of_one_device_and_thread_count_replace_each_other(bundle):
    device = Scripted(measured)
    first = profile(bundle, device=device)
    profile(bundle.path, device=device, threads=2)
    last = profile(bundle.path, device=device, targets=["onnx"])
    one, other = last.bundle.manifest.artefacts
    assert [(entry.device, entry.threads) for entry in one.profiles] == [
        ("scripted", 2),
        ("scripted", 1),
    ]
    assert one.profiles[-1] == last.records[0]
    assert [entry.threads for entry in other.profiles] == [1, 2]
    assert other.profiles[0] == first.records[1]


def test_what_the_device_is_asked(bundle):
    device = Scripted(measured)
    profile(
        bundle,
        device=device,
        threads=3,
        runs=7,
        timeout=5.0,
        memory_limit=99,
        targets=["onnx:again"],
    )
    ((cases, protocol),) = device.seen
    (case,) = cases
    assert case.name == "onnx:again"
    assert case.path == bundle.path / "again.onnx"
    np.testing.assert_array_equal(case.inputs["x"], [[1, 2, 3, 4]])
    assert list(case.input_specs) == [X]
    assert list(case.output_specs) == [Y]
    assert (protocol.threads, protocol.runs, protocol.cold_loads, protocol.warm_ups) == (3, 7, 3, 3)
    assert (protocol.timeout, protocol.memory_limit) == (5.0, 99)


def test_an_artefact_with_another_face_gets_random_inputs(tmp_path):
    camera = TensorSpec("camera", (1, 4), "uint8")
    artefact = ("tiny.onnx", tiny_onnx(tmp_path / "a.onnx"))
    device = Scripted(measured)
    profile(write_bundle(tmp_path, {"onnx": artefact}, camera), device=device)
    (case,) = device.seen[0][0]
    assert {name: (x.shape, str(x.dtype)) for name, x in case.inputs.items()} == {
        "camera": ((1, 4), "uint8")
    }


def test_what_another_process_wrote_meanwhile_stays(bundle):
    def verified_meanwhile(case):
        current = Bundle.open(bundle.path)
        current.update(current.manifest.model_copy(update={"notes": ["written meanwhile"]}))
        return measured(case)

    result = profile(bundle, device=Scripted(verified_meanwhile))
    assert result.bundle.manifest.notes == ["written meanwhile"]
    assert len(result.bundle.manifest.artefacts[0].profiles) == 1


def test_failures_alone_leave_the_manifest_as_it_was(bundle):
    before = (bundle.path / "manifest.json").read_bytes()
    refusal = SessionError("no")
    result = profile(bundle, device=Scripted(lambda case: Measurement(case, failure=refusal)))
    assert [entry.failure for entry in result.artefacts] == [refusal, refusal]
    assert result.records == []
    assert (bundle.path / "manifest.json").read_bytes() == before


def test_a_failing_device_is_an_error(bundle):
    def broken(case):
        raise DeviceError("unplugged")

    with pytest.raises(DeviceError, match="unplugged"):
        profile(bundle, device=Scripted(broken))


def test_bad_calls(bundle, tmp_path):
    with pytest.raises(UnknownNameError, match="device"):
        profile(bundle, device="pixel")
    with pytest.raises(UnknownNameError, match="litert"):
        profile(bundle, targets=["litert"])
    for change in ({"runs": 0}, {"threads": 0}, {"timeout": -1.0}):
        with pytest.raises(UsageError):
            profile(bundle, **change)
    with pytest.raises(InputNotFoundError):
        profile(tmp_path / "absent.edge")
    with pytest.raises(BundleError, match="no artefact to measure"):
        profile(bundle, targets=[])


def test_names_of_artefacts(bundle):
    def chosen(*names):
        return [record.target for record in select_artefacts(bundle.manifest, names)]

    assert chosen("onnx") == chosen("tiny.onnx") == ["onnx"]
    assert chosen("onnx:again") == chosen("again.onnx", "onnx:again") == ["onnx:again"]
    assert chosen("onnx:again", "onnx") == ["onnx", "onnx:again"]
    assert chosen() == []
    assert len(select_artefacts(bundle.manifest, None)) == 2
    again = bundle.manifest.artefacts[1]
    variant = again.model_copy(update={"target": "onnx:other"})
    variants = bundle.manifest.model_copy(update={"artefacts": [again, variant]})
    assert select_artefacts(variants, ["onnx"]) == [again, variant]
