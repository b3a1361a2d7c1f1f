from __future__ import annotations

import threading

import pytest

from edgesdk.exporter.parallel import run_parallel


def test_results_come_in_the_order_of_the_calls():
    late = threading.Event()

    def first():
        assert late.wait(10)
        return "first"

    def second():
        late.set()
        return "second"

    assert run_parallel([first, second], 2) == ["first", "second"]
    assert run_parallel([], 3) == []
    assert run_parallel([lambda: None], 0) == [None]


def test_never_more_at_a_time_than_asked_for():
    running, most, lock = 0, 0, threading.Lock()

    def call():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.01)
        with lock:
            running -= 1

    run_parallel([call] * 12, 3)
    assert 1 <= most <= 3


def test_an_exception_ends_the_wait_and_what_has_not_begun_never_does():
    begun: list[int] = []
    release, other_begun = threading.Event(), threading.Event()

    def slow():
        other_begun.set()
        # Nobody waits for this one: the error arrives while it is under way.
        release.wait(10)

    def failing():
        assert other_begun.wait(10)
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        run_parallel([slow, failing, *[lambda: begun.append(1)] * 5], 2)
    release.set()
    assert begun == []


def test_an_interruption_of_the_wait_is_not_held_up():
    release = threading.Event()

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_parallel([lambda: release.wait(30), interrupt], 2)
    release.set()
