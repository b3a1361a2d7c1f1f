from __future__ import annotations

import runpy
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk import devices
from edgesdk.devices import Case, LocalDevice, Protocol
from edgesdk.devices.processor import processor_name, temperature
from edgesdk.devices.schedule import rounds
from edgesdk.errors import InputSpecError, SessionCrashError, UnknownNameError, UsageError
from edgesdk.spec import TensorSpec

FAULTY = Path(__file__).parents[1] / "faulty_runtime"
tiny_onnx = runpy.run_path(str(FAULTY / "tiny_onnx.py"))["tiny_onnx"]

X = {"x": np.array([[1, 2, 3, 4]], dtype=np.float32)}
SHORT = Protocol(cold_loads=2, warm_ups=1, runs=3, operator_runs=2)


def test_the_local_device_is_found_by_name():
    device = devices.find("local")
    assert isinstance(device, LocalDevice)
    assert device.identifier == "local"
    assert device.name == processor_name()
    with pytest.raises(UnknownNameError, match="unknown device 'locl'") as caught:
        devices.find("locl")
    assert caught.value.remedy == "did you mean 'local'?"


def test_one_artefact_through_the_whole_protocol(tmp_path):
    steps = []
    case = Case("onnx", tiny_onnx(tmp_path / "a.onnx"), X)
    (measurement,) = LocalDevice().measure([case], SHORT, steps.append)
    figures = measurement.figures
    assert measurement.case is case
    assert measurement.failure is None
    assert figures.runtime.startswith("onnxruntime")
    assert len(figures.loads_ms) == len(figures.first_runs_ms) == 2
    assert len(figures.latencies_ms) == 3
    assert min(figures.loads_ms + figures.first_runs_ms + figures.latencies_ms) > 0
    assert 0 < figures.model_memory_bytes < figures.peak_memory_bytes
    assert figures.operators
    assert figures.operators_note
    assert "2 loads" in measurement.protocol
    assert "3 timed runs one after the other" in measurement.protocol
    assert [step.done for step in steps] == list(range(len(steps)))
    assert {step.total for step in steps} == {len(steps)}
    assert steps[0].doing == "load 1 of 2: onnx"
    assert psutil.Process().children(recursive=True) == []


def test_failures_stay_with_their_artefact(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FAULTY))
    cases = [
        Case("good", tiny_onnx(tmp_path / "good.onnx"), X),
        Case("crash", tiny_onnx(tmp_path / "crash.onnx", "crash"), X),
        Case("late", tiny_onnx(tmp_path / "late.onnx", "crash at third run"), X),
        Case("wrong", tiny_onnx(tmp_path / "wrong.onnx"), {"x": np.zeros((1, 9), np.float32)}),
        Case("also good", tiny_onnx(tmp_path / "also.onnx"), X),
    ]
    good, crash, late, wrong, also = LocalDevice().measure(cases, SHORT)
    for measurement in (good, also):
        assert measurement.failure is None
        assert len(measurement.figures.latencies_ms) == SHORT.runs
        # Only those that reached the end were measured together.
        assert "between 2 artefacts" in measurement.protocol
    assert isinstance(crash.failure, SessionCrashError)
    assert "SIGSEGV" in crash.failure.message
    assert isinstance(late.failure, SessionCrashError)
    assert "SIGABRT" in late.failure.message
    assert isinstance(wrong.failure, InputSpecError)
    for measurement in (crash, late, wrong):
        assert measurement.figures is None
    assert psutil.Process().children(recursive=True) == []


def test_without_operator_times(tmp_path):
    case = Case("onnx", tiny_onnx(tmp_path / "a.onnx"), X)
    protocol = Protocol(cold_loads=1, warm_ups=0, runs=1, operator_runs=0)
    (measurement,) = LocalDevice().measure([case], protocol)
    assert measurement.figures.operators == ()
    assert measurement.figures.operators_note == "not requested"


def test_a_crash_for_operator_times_leaves_the_timed_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FAULTY))
    # Two runs before; the profiled second copy gets as far as its third.
    case = Case("onnx", tiny_onnx(tmp_path / "a.onnx", "crash at third run"), X)
    protocol = Protocol(cold_loads=1, warm_ups=0, runs=1, operator_runs=2)
    (measurement,) = LocalDevice().measure([case], protocol)
    assert len(measurement.figures.latencies_ms) == 1
    assert measurement.figures.peak_memory_bytes > 0
    assert measurement.figures.operators == ()
    assert "SIGABRT" in measurement.figures.operators_note


def test_declared_specs_reach_the_session(tmp_path):
    case = Case(
        "onnx",
        tiny_onnx(tmp_path / "a.onnx"),
        {"image": X["x"]},
        input_specs=[TensorSpec("image", (1, 4))],
        output_specs=[TensorSpec("scores", (1, 3))],
    )
    protocol = Protocol(cold_loads=1, warm_ups=0, runs=1, operator_runs=0)
    (measurement,) = LocalDevice().measure([case], protocol)
    assert measurement.failure is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Core ML")
def test_an_evaluator_is_measured_only_where_asked_for(tmp_path, monkeypatch):
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 4))], opset_version=ct.target.iOS16)
    def program(x):
        return mb.relu(x=x, name="y")

    package = tmp_path / "a.mlpackage"
    ct.convert(program, convert_to="mlprogram").save(str(package))
    protocol = Protocol(cold_loads=1, warm_ups=0, runs=1, operator_runs=0, timeout=300.0)
    asked = replace(protocol, include_evaluators=True)
    (measurement,) = LocalDevice().measure([Case("coreml", package, X)], asked)
    assert measurement.failure is None
    assert measurement.figures.evaluator
    # Where the platform alone does not tell, the session does.
    monkeypatch.setattr("edgesdk.devices.local._stand_in", lambda path: "")
    (measurement,) = LocalDevice().measure([Case("coreml", package, X)], protocol)
    assert measurement.figures is None
    assert "Core ML" in measurement.skipped


def test_an_interruption_leaves_no_process(tmp_path):
    def interrupt(step):
        if step.doing.startswith("timed"):
            raise KeyboardInterrupt

    cases = [Case(name, tiny_onnx(tmp_path / f"{name}.onnx"), X) for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        LocalDevice().measure(cases, SHORT, interrupt)
    assert psutil.Process().children(recursive=True) == []


def test_nothing_to_measure():
    assert LocalDevice().measure([], SHORT) == []


@pytest.mark.parametrize(
    "change",
    [
        {"threads": 0},
        {"cold_loads": 0},
        {"warm_ups": -1},
        {"runs": 0},
        {"operator_runs": -1},
        {"timeout": 0.0},
        {"timeout": float("nan")},
    ],
)
def test_protocols_that_make_no_sense(change):
    with pytest.raises(UsageError):
        Protocol(**change)


def test_orders_by_hand():
    assert rounds(1, 3) == [[0], [0], [0]]
    assert rounds(2, 3) == [[0, 1], [1, 0], [0, 1]]
    # Zigzag 0 1 3 2, then one further each round.
    assert rounds(4, 4) == [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]
    # Zigzag 0 1 2; the second cycle runs backwards.
    assert rounds(3, 6) == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [0, 2, 1], [1, 0, 2]]
    assert rounds(0, 2) == [[], []]
    assert rounds(5, 0) == []


@given(count=st.integers(2, 9))
@settings(max_examples=8)
def test_places_and_neighbours_are_shared_equally(count):
    cycle = count if count % 2 == 0 else 2 * count
    orders = rounds(count, cycle)
    assert all(sorted(order) == list(range(count)) for order in orders)
    places = Counter((place, index) for order in orders for place, index in enumerate(order))
    assert set(places.values()) == {cycle // count}
    assert len(places) == count * count
    neighbours = Counter(pair for order in orders for pair in pairwise(order))
    assert set(neighbours.values()) == {cycle // count}
    assert len(neighbours) == count * (count - 1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some  CPU @ 2 GHz\n", "Some CPU @ 2 GHz, "),
        ("processor\t: 0\nCPU part\t: 0xd0b\n\nModel\t\t: Some Board Rev 1.0\n", "Some Board Rev "),
    ],
)
def test_processor_names(tmp_path, text, name):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert processor_name(cpuinfo).startswith(name)


def test_an_unknown_processor_still_has_a_name(tmp_path):
    assert "core" in processor_name(tmp_path / "absent")


def test_temperature_is_a_number_or_unknown():
    degrees = temperature()
    assert degrees is None or -40 < degrees < 150
