from __future__ import annotations

import json
import runpy
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgesdk.errors import (
    InputNotFoundError,
    InputSpecError,
    SessionCrashError,
    SessionError,
    UnknownNameError,
    UsageError,
)
from edgesdk.runtime.isolated import open_isolated
from edgesdk.runtime.spec_json import specs_from_json, specs_to_json
from edgesdk.spec import IMAGE_PRESETS, DynamicDim, TensorSpec

FAULTY = Path(__file__).parents[1] / "faulty_runtime"
tiny_onnx = runpy.run_path(str(FAULTY / "tiny_onnx.py"))["tiny_onnx"]

X = {"x": np.array([[1, 2, 3, 4]], dtype=np.float32)}
#: [1 2 3 4] times the matrix of i - j is [20 10 0].
Y = np.array([[20, 10, 0]], dtype=np.float32)


@pytest.fixture
def artefact(tmp_path):
    return tiny_onnx(tmp_path / "tiny.onnx")


@pytest.fixture
def session(artefact):
    with open_isolated(artefact) as opened:
        yield opened


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FAULTY))
    return lambda fault: tiny_onnx(tmp_path / "faulty.onnx", fault)


def test_it_answers_as_the_runtime_does(session):
    np.testing.assert_array_equal(session.run(X)["y"], Y)
    assert session.runtime.startswith("onnxruntime ")
    assert session.inputs == (TensorSpec("x", (1, 4)),)
    assert session.outputs == (TensorSpec("y", (1, 3)),)
    assert not session.evaluator
    assert session.note == ""


def test_declared_specs_rename_the_face(artefact):
    inputs, outputs = [TensorSpec("image", (1, 4))], [TensorSpec("scores", (1, 3))]
    with open_isolated(artefact, inputs=inputs, outputs=outputs) as session:
        np.testing.assert_array_equal(session.run({"image": X["x"]})["scores"], Y)


def test_timed_runs(session):
    assert session.first_run_ms is None
    times = session.run_timed(X, 4)
    assert len(times) == 4
    assert all(0 < value < 60_000 for value in times)
    assert session.first_run_ms == times[0]
    assert len(session.run_timed(None, 3)) == 3
    assert session.first_run_ms == times[0]
    assert 0 < session.load_ms < 60_000


def test_the_first_run_is_unknown_where_it_was_not_timed(session):
    session.run(X)
    session.run_timed(X, 1)
    assert session.first_run_ms is None


def test_memory_figures_belong_to_the_child(session):
    session.run_timed(X, 1)
    child = psutil.Process(session.pid).memory_info().rss
    # The peak is at least what is resident now, save for pages given back since.
    assert session.peak_memory_bytes > 0.9 * child
    assert 0 < session.model_memory_bytes < session.peak_memory_bytes


def test_model_memory_grows_with_the_model(tmp_path, session):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((4, 2 * 2**20)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2 * 2**20])],
        [numpy_helper.from_array(weight, "weight")],
    )
    path = tmp_path / "large.onnx"
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    session.run_timed(X, 1)
    with open_isolated(path) as large:
        large.run_timed(X, 1)
        assert large.model_memory_bytes > session.model_memory_bytes + weight.nbytes


def test_operator_times(session):
    measured = session.operator_times(X, runs=2)
    assert {entry.operator for entry in measured} <= {"MatMul", "Relu", "Gemm", "FusedMatMul"}
    assert measured
    assert all(entry.milliseconds >= 0 for entry in measured)
    assert session.operators_note


def test_bad_inputs_are_refused_and_the_session_lives_on(session):
    with pytest.raises(InputSpecError):
        session.run({"x": np.zeros((1, 5), np.float32)})
    with pytest.raises(InputSpecError):
        session.run_timed({"x": np.zeros((2, 4), np.float32)}, 1)
    with pytest.raises(UnknownNameError):
        session.run({**X, "z": X["x"]})
    with pytest.raises(UsageError):
        session.run_timed(X, 0)
    with pytest.raises(UsageError):
        session.run_timed(None, 1)
    with pytest.raises(UsageError):
        session.operator_times(X, runs=0)
    np.testing.assert_array_equal(session.run(X)["y"], Y)


@pytest.mark.parametrize(("threads", "timeout"), [(0, 60.0), (1, 0.0), (1, float("nan"))])
def test_bad_options(artefact, threads, timeout):
    with pytest.raises(UsageError):
        open_isolated(artefact, threads=threads, timeout=timeout)


def test_files_that_are_no_artefact(tmp_path):
    with pytest.raises(InputNotFoundError):
        open_isolated(tmp_path / "absent.onnx")
    with pytest.raises(UnknownNameError):
        open_isolated(tmp_path / "model.doc")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\x08\x07 no model")
    with pytest.raises(SessionError):
        open_isolated(damaged)


def test_a_closed_session_does_not_run(session):
    session.close()
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.run(X)
    assert session.peak_memory_bytes > 0


@pytest.mark.parametrize("how", ["run", "run_timed", "operator_times"])
def test_a_crash_of_the_runtime_hurts_its_session_alone(faulty, how):
    with open_isolated(faulty("crash")) as session:
        pid = session.pid
        with pytest.raises(SessionCrashError, match="killed by SIGSEGV") as caught:
            getattr(session, how)(X, *([1] if how != "run" else []))
        assert "the runtime says its last words" in caught.value.__notes__[0]
        assert caught.value.where.endswith("faulty.onnx")
        assert session.closed
        assert not psutil.pid_exists(pid)
        with pytest.raises(SessionError, match="closed"):
            session.run(X)


def test_a_crash_while_loading(faulty):
    with pytest.raises(SessionCrashError, match="killed by SIGSEGV"):
        open_isolated(faulty("crash at load"))


def test_a_hang_ends_at_the_time_limit(faulty):
    # Generous for the load on a busy machine, which has to succeed.
    with open_isolated(faulty("hang"), timeout=20) as session:
        session._timeout = 0.3
        with pytest.raises(SessionCrashError, match="did not answer"):
            session.run(X)
        assert not psutil.pid_exists(session.pid)


def test_memory_over_the_limit(faulty):
    with (
        open_isolated(faulty("overeat"), memory_limit=400 * 2**20) as session,
        pytest.raises(SessionCrashError, match="limit of 400 MiB"),
    ):
        session.run(X)


def test_an_exception_of_the_runtime_is_a_session_error(faulty):
    with open_isolated(faulty("refuse")) as session:
        for _ in range(2):
            with pytest.raises(SessionError, match="does not taste") as caught:
                session.run(X)
            assert not isinstance(caught.value, SessionCrashError)


def test_a_paused_session_stands_still_and_goes_on(session):
    session.run_timed(X, 1)
    session.pause()
    process = psutil.Process(session.pid)
    for _ in range(1000):
        if process.status() == psutil.STATUS_STOPPED:
            break
        threading.Event().wait(0.01)
    assert process.status() == psutil.STATUS_STOPPED
    session.resume()
    np.testing.assert_array_equal(session.run(X)["y"], Y)
    session.pause()
    session.close()
    assert not psutil.pid_exists(session.pid)


def test_sessions_leave_nothing_behind(artefact):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    with open_isolated(artefact) as session:
        session.run(X)
    before = descriptors()
    # Other tests may have left processes of multiprocessing, which are not ours.
    children = set(psutil.Process().children(recursive=True))
    for _ in range(2):
        with open_isolated(artefact) as session:
            session.run(X)
    assert descriptors() == before
    assert set(psutil.Process().children(recursive=True)) <= children


def test_specs_cross_as_they_are():
    specs = (
        TensorSpec("plain", (2, 3), "int64"),
        TensorSpec(
            "camera",
            (1, 32, 32, 3),
            "uint8",
            {0: DynamicDim("batch", 1, 4), 1: DynamicDim("height", 32, 64, 32)},
            "NHWC",
            IMAGE_PRESETS["imagenet"],
        ),
    )
    assert specs_from_json(json.loads(json.dumps(specs_to_json(specs)))) == specs
