"""Run several slow calls at a time, so that Ctrl-C ends the wait at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

__all__ = ["run_side_by_side"]

_Result = TypeVar("_Result")


def run_side_by_side(calls: Sequence[Callable[[], _Result]], workers: int) -> list[_Result]:
    """Run calls in threads, so many at a time.

    An exception of a call, or one raised in the waiting thread, ends the wait: calls that have not
    begun never do, and nobody waits for those under way. The threads are daemons, unlike those of
    :class:`concurrent.futures.ThreadPoolExecutor`, which would hold up the end of the program.

    Args:
        calls: Begun in this order.
        workers: Threads, at least 1.

    Returns:
        The results, in the order of the calls.

    Raises:
        BaseException: What the first failing call raised.
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
        threading.Thread(target=work, name=f"side-by-side-{number}", daemon=True).start()
    results: dict[int, _Result] = {}
    try:
        while len(results) < len(calls):
            index, result, error = done.get()
            if error is not None:
                raise error
            results[index] = result  # type: ignore[assignment]
    finally:
        _empty(waiting)
    return [results[index] for index in range(len(calls))]


def _empty(waiting: SimpleQueue[int]) -> None:
    while True:
        try:
            waiting.get_nowait()
        except Empty:
            return
