from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgesdk.errors import UnknownNameError
from edgesdk.host.processes import (
    ChildDied,
    ChildFailure,
    ChildMemoryLimit,
    ChildProcess,
    ChildTimeout,
    describe_exit,
)

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def start(**options) -> ChildProcess:
    environment = {"PYTHONPATH": str(HERE), **options.pop("environment", {})}
    return ChildProcess("awkward_worker", environment=environment, name="the worker", **options)


@pytest.fixture
def child():
    with start() as process:
        yield process


def gone(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_payload_and_arrays_come_back_as_they_were(child):
    arrays = {
        "plain": np.arange(12, dtype=np.float32).reshape(3, 4),
        "transposed": np.arange(6, dtype=np.int64).reshape(2, 3).T,
        "scalar": np.array(2.5, dtype=np.float16),
        "empty": np.zeros((0, 3), dtype=np.uint8),
        "truth": np.array([True, False]),
    }
    payload = {"text": "grüße\n", "list": [1, None, 2.5], "nested": {"a": True}}
    reply = child.request("echo", payload, arrays, timeout=30)
    assert reply.payload == payload
    for name, array in arrays.items():
        assert reply.arrays[name].dtype == array.dtype
        assert reply.arrays[name].shape == array.shape
        np.testing.assert_array_equal(reply.arrays[name], array)
    assert reply.arrays["plain"].flags.writeable


def test_a_message_larger_than_any_socket_buffer_passes_both_ways(child):
    array = np.random.default_rng(0).integers(0, 255, 40 * 2**20, dtype=np.uint8)
    reply = child.request("echo", {}, {"x": array}, timeout=60)
    assert np.array_equal(reply.arrays["x"], array)


def test_progress_arrives_in_order_before_the_result(child):
    seen = []
    reply = child.request("steps", {"steps": 5}, timeout=30, on_progress=seen.append)
    assert seen == [{"step": step} for step in range(5)]
    assert reply.payload == {"done": True}


def test_an_error_of_ours_arrives_as_itself_and_the_child_lives_on(child):
    with pytest.raises(UnknownNameError) as caught:
        child.request("our_error", timeout=30)
    assert caught.value.message == "unknown colour 'gren'"
    assert caught.value.remedy == "did you mean 'green'?"
    assert child.request("echo", {"still": "here"}, timeout=30).payload == {"still": "here"}


def test_a_foreign_exception_arrives_with_its_traceback_and_the_child_lives_on(child):
    with pytest.raises(ChildFailure) as caught:
        child.request("foreign_error", timeout=30)
    assert caught.value.kind == "builtins.ZeroDivisionError"
    assert caught.value.detail == "no such quotient"
    assert "in foreign_error" in caught.value.traceback
    assert child.request("echo", {}, timeout=30).payload == {}


@pytest.mark.parametrize(
    ("request_kind", "failure"),
    [
        ("ask_to_leave", "builtins.SystemExit"),
        ("no_json", "builtins.TypeError"),
        ("nobody", "edgesdk.host.processes.wire.ProtocolError"),
    ],
)
def test_exits_bad_results_and_unknown_requests_are_failures(child, request_kind, failure):
    with pytest.raises(ChildFailure) as caught:
        child.request(request_kind, timeout=30)
    assert caught.value.kind == failure
    assert child.request("echo", {}, timeout=30).payload == {}


def test_a_crash_names_the_signal_and_keeps_what_was_printed(child):
    pid = child.pid
    with pytest.raises(ChildDied) as caught:
        child.request("crash", timeout=30)
    assert caught.value.returncode == -signal.SIGSEGV
    assert "killed by SIGSEGV" in caught.value.message
    assert "about to read address zero" in caught.value.log
    assert "Segmentation fault" in caught.value.log  # the interpreter's own fault handler
    assert not psutil.pid_exists(pid)
    with pytest.raises(ChildDied, match="closed"):
        child.request("echo", timeout=30)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGABRT"])
def test_the_killing_signal_is_told_in_words(name):
    with start() as child, pytest.raises(ChildDied, match=f"killed by {name}"):
        child.request("raise_signal", {"signal": name}, timeout=30)


def test_an_exit_status_is_told(child):
    with pytest.raises(ChildDied, match="status 3"):
        child.request("leave", {"status": 3}, timeout=30)


def test_death_before_the_first_message():
    with (
        start(environment={"AWKWARD": "dies at once"}) as child,
        pytest.raises(ChildDied, match="status 7") as caught,
    ):
        child.request("echo", timeout=30)
    assert caught.value.log == "no good morning"


def test_a_module_that_does_not_exist():
    with (
        ChildProcess("edgesdk.no_such_module", name="the worker") as child,
        pytest.raises(ChildDied, match="status 1") as caught,
    ):
        child.request("echo", timeout=30)
    assert "No module named edgesdk.no_such_module" in caught.value.log


@pytest.mark.parametrize("kind", ["hang", "hang_with_the_lock"])
def test_a_hang_ends_at_the_time_limit(kind):
    with start() as child:
        child.request("echo", timeout=30)
        with pytest.raises(ChildTimeout) as caught:
            child.request(kind, timeout=0.3)
        assert caught.value.seconds == 0.3
        assert child.closed
        assert not psutil.pid_exists(child.pid)


def test_a_child_that_does_not_read_cannot_block_the_sender():
    with start() as child:
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(ChildTimeout):
            child.request("echo", {}, {"x": np.zeros(2**25, np.uint8)}, timeout=0.5)


@pytest.mark.parametrize("kind", ["eat", "eat_in_grandchild"])
def test_memory_over_the_limit_ends_the_tree(kind):
    limit = 200 * 2**20
    with start(memory_limit=limit) as child, pytest.raises(ChildMemoryLimit) as caught:
        child.request(kind, timeout=60)
    assert caught.value.limit == limit < caught.value.used < 4 * limit
    assert child.peak_memory_bytes >= limit
    assert child.closed


def test_peak_memory_outlives_what_was_freed(child):
    child.request("echo", {}, {"x": np.ones(2**22)}, timeout=30)
    peak = child.peak_memory_bytes
    assert peak > 2**25  # the array alone
    child.close()
    assert child.peak_memory_bytes >= peak


def test_a_child_that_prints_a_lot_is_neither_blocked_nor_kept_whole(child):
    reply = child.request("shout", {"lines": 20_000}, timeout=60)
    assert reply.payload == {"lines": 20_000}
    tail = child.log_tail(100_000)
    assert "err 19999" in tail
    assert "out 19999 ooo" in tail
    assert "out 0 " not in tail
    assert len(tail) <= 256 * 1024
    assert child.log_tail(1) == "err 19999"
    assert child.log_tail(0) == ""


def test_states_of_a_progress_bar_are_dropped_from_the_log(child):
    child.request("progress_bar", timeout=30)
    assert child.log_tail() == "100 %\nlast"


def test_bytes_that_are_no_message_end_the_child(child):
    with pytest.raises(ChildDied, match="invalid message"):
        child.request("garbage", timeout=30)
    assert child.closed


@pytest.mark.parametrize("own_session", [False, True])
def test_closing_ends_what_the_child_started(own_session):
    with start() as child:
        sleeper = child.request("start_sleeper", {"own_session": own_session}, timeout=30)
        assert psutil.pid_exists(sleeper.payload["pid"])
    assert gone(sleeper.payload["pid"])


def test_what_cannot_be_sent_is_refused_and_the_child_lives_on(child):
    with pytest.raises(TypeError, match="is not numeric"):
        child.request("echo", {}, {"x": np.array(["text"])}, timeout=30)
    with pytest.raises(TypeError):
        child.request("echo", {"x": object()}, timeout=30)
    assert child.request("echo", {}, timeout=30).payload == {}


def test_an_exception_in_the_progress_callback_ends_the_child(child):
    def stop(payload):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child.request("hang", timeout=30, on_progress=stop)
    assert child.closed
    assert not psutil.pid_exists(child.pid)


def test_the_current_folder_is_not_searched_for_modules(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    with start(environment={"SOME_SETTING": "4"}) as child:
        found = child.request("where", timeout=30).payload
    assert found["variable"] == "4"
    assert str(tmp_path) not in found["path"]
    assert "" not in found["path"]
    assert str(ROOT) in found["path"]


def test_temporary_files_go_with_the_child(child):
    scratch = Path(child.request("where", timeout=30).payload["scratch"])
    assert scratch.is_dir()
    child.close()
    assert not scratch.exists()
    assert not scratch.parent.exists()
    assert scratch.parent.name.startswith("edgesdk-")


def test_two_threads_take_turns(child):
    results = {}

    def ask(number):
        for _ in range(20):
            reply = child.request("echo", {"n": number}, {"x": np.full(5000, number)}, timeout=30)
            assert reply.payload == {"n": number}
            results[number] = int(reply.arrays["x"][-1])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: 0, 1: 1, 2: 2, 3: 3}


def test_a_child_outlives_the_thread_that_started_it():
    made = []
    thread = threading.Thread(target=lambda: made.append(start()))
    thread.start()
    thread.join()
    with made[0] as child:
        assert child.request("echo", {"a": 1}, timeout=30).payload == {"a": 1}


def test_a_forgotten_child_is_ended():
    child = start()
    pid = child.pid
    child.request("echo", timeout=30)
    del child
    assert not psutil.pid_exists(pid)


def test_fifty_children_leave_no_process_and_no_descriptor():
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    with start() as child:
        child.request("echo", timeout=30)
    before, threads = descriptors(), threading.active_count()
    # Other tests may have left processes of multiprocessing, which are not ours.
    children = set(psutil.Process().children(recursive=True))
    for number in range(50):
        with start() as child:
            if number % 10 == 0:
                child.request("echo", {"n": number}, timeout=30)
    assert descriptors() == before
    assert threading.active_count() == threads
    assert set(psutil.Process().children(recursive=True)) <= children


PARENT = """
import os, sys, time
sys.path.insert(0, {root!r})
from edgesdk.host.processes import ChildProcess
child = ChildProcess("awkward_worker", environment={{"PYTHONPATH": {here!r}}})
sleeper = child.request("start_sleeper", {{"own_session": False}}, timeout=30).payload["pid"]
def tell(payload):
    print(child.pid, sleeper, flush=True)
child.request({kind!r}, timeout=500, on_progress=tell)
"""


def run_parent(kind: str, scratch: Path) -> tuple[subprocess.Popen, int, int]:
    program = PARENT.format(root=str(ROOT), here=str(HERE), kind=kind)
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert parent.stdout is not None
    pid, sleeper = map(int, parent.stdout.readline().split())
    assert psutil.pid_exists(pid)
    assert psutil.pid_exists(sleeper)
    return parent, pid, sleeper


@pytest.mark.parametrize("kind", ["hang", "hang_with_the_lock"])
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_and_its_own_children_die_with_the_parent(kind, death, tmp_path):
    parent, pid, sleeper = run_parent(kind, tmp_path)
    with parent:
        parent.send_signal(death)
        assert parent.wait(20) == -death
    assert gone(pid)
    assert gone(sleeper)


def test_ctrl_c_ends_parent_and_child(tmp_path):
    parent, pid, sleeper = run_parent("hang", tmp_path)
    with parent:
        # To the whole group, as a terminal does.
        os.killpg(parent.pid, signal.SIGINT)
        _, stderr = parent.communicate(timeout=20)
    assert "KeyboardInterrupt" in stderr
    assert parent.returncode != 0
    assert list(tmp_path.iterdir()) == []
    assert gone(pid)
    assert gone(sleeper)


def test_a_fork_of_the_parent_keeps_no_child_alive(tmp_path):
    program = PARENT.replace(
        "child.request({kind", "os.fork() or time.sleep(30)\nchild.request({kind"
    )
    # The forked copy sleeps on; only the copies it holds of the pipes could keep the child alive.
    text = program.format(root=str(ROOT), here=str(HERE), kind="hang")
    parent = subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with parent:
        assert parent.stdout is not None
        pid, sleeper = map(int, parent.stdout.readline().split())
        parent.kill()
        try:
            assert gone(pid)
            assert gone(sleeper)
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_without_the_kernels_help_a_thread_watches_the_parent():
    reading_end, writing_end = os.pipe()
    program = (
        "import sys, time; from edgesdk.host.processes.child import _die_with_parent\n"
        "from threading import Thread\n"
        f"Thread(target=_die_with_parent, args=({reading_end},)).start()\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        pass_fds=(reading_end,),
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with child:
        os.close(reading_end)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        os.close(writing_end)
        assert child.wait(20) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (None, "still running"),
        (0, "ended with status 0"),
        (-11, "killed by SIGSEGV (bad memory access)"),
        (-2, "killed by SIGINT"),
        (-250, "killed by signal 250"),
    ],
)
def test_describe_exit(returncode, words):
    assert describe_exit(returncode) == words
