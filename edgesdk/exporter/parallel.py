"""Run several slow calls in threads, so that Ctrl-C ends the wait at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

__all__ = ["run_parallel"]

_Result = TypeVar("_Result")


def run_parallel(calls: Sequence[Callable[[], _Result]], workers: int) -> list[_Result]:
    """Run calls in a number of threads.

    An exception in a call or in the waiting thread ends the wait: pending calls never start, and
    running ones are not awaited. The threads are daemons, unlike those of
    :class:`concurrent.futures.ThreadPoolExecutor`, which would delay the end of the program.

    Args:
        calls: Started in this order.
        workers: Number of threads, at least 1.

    Returns:
        The results, in the order of the calls.

    Raises:
        BaseException: The exception of the first failing call.
    """
    waiting: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, _Result | None, BaseException | None]] = SimpleQueue()
    for index in range(len(calls)):
        waiting.put(index)

    def work() -> None:
        while True:
            try:
                index = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put((index, calls[index](), None))
            except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
                done.put((index, None, error))
                return

    for number in range(max(1, min(workers, len(calls)))):
        threading.Thread(target=work, name=f"parallel-{number}", daemon=True).start()
    results: dict[int, _Result] = {}
    try:
        while len(results) < len(calls):
            index, result, error = done.get()
            if error is not None:
                raise error
            results[index] = result  # type: ignore[assignment]
    finally:
        _clear(waiting)
    return [results[index] for index in range(len(calls))]


def _clear(waiting: SimpleQueue[int]) -> None:
    while True:
        try:
            waiting.get_nowait()
        except Empty:
            return
