"""Where candidates are tried: here, in any executor, in processes of this machine, on a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol, TypeAlias

from edgesdk.errors import MissingBackendError, UsageError, WorkerLostError
from edgesdk.pruning.candidates import CandidateTask, try_candidate
from edgesdk.pruning.surgery import RemovedChannels

__all__ = ["Workers", "dask_workers", "executor_workers", "process_workers", "serial_workers"]

#: Called with the number of a candidate and its answer, in the order in which they come.
Answered: TypeAlias = "Callable[[int, float], None]"

_MOST_LOSSES = 2
_SECONDS_WITHOUT_WORKERS = 60.0
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_CONNECT = 10
_SECONDS_TO_FETCH = 10.0


class Workers(Protocol):
    """Tries candidates of one problem."""

    def __call__(self, candidates: Sequence[RemovedChannels], answered: Answered) -> None:
        """Try all candidates; ``answered`` is called for each in this thread.

        Raises:
            WorkerLostError: Too many workers were lost.
        """


@contextmanager
def serial_workers(problem: CandidateTask) -> Iterator[Workers]:
    """One candidate after the other in this process."""

    def work(candidates: Sequence[RemovedChannels], answered: Answered) -> None:
        for index, drops in enumerate(candidates):
            answered(index, try_candidate(problem, drops))

    yield work


@contextmanager
def executor_workers(problem: CandidateTask, executor: Executor) -> Iterator[Workers]:
    """An executor of the caller's; the problem travels with every candidate.

    Args:
        problem: What candidates share.
        executor: Left open.
    """

    def work(candidates: Sequence[RemovedChannels], answered: Answered) -> None:
        futures = {
            executor.submit(try_candidate, problem, drops): index
            for index, drops in enumerate(candidates)
        }
        try:
            for future in as_completed(futures):
                answered(futures[future], future.result())
        except BrokenProcessPool as error:
            raise _lost("a process of the executor", error) from error
        finally:
            for future in futures:
                future.cancel()

    yield work


_problem: CandidateTask | None = None


def _receive(problem: CandidateTask) -> None:
    global _problem
    _problem = problem


def _try_received(drops: RemovedChannels) -> float:
    if _problem is None:
        raise UsageError("this process was given no problem", remedy="use process_workers")
    return try_candidate(_problem, drops)


@contextmanager
def process_workers(problem: CandidateTask, processes: int) -> Iterator[Workers]:
    """Processes of this machine; one that is killed is replaced, twice at most.

    Args:
        problem: Sent to each process once.
        processes: How many.

    Raises:
        UsageError: Fewer than one.
    """
    if processes < 1:
        raise UsageError(f"{processes} worker processes", remedy="give 1 or more")
    pool: list[ProcessPoolExecutor] = []

    def opened() -> ProcessPoolExecutor:
        if not pool:
            pool.append(
                ProcessPoolExecutor(
                    processes,
                    mp_context=get_context("spawn"),
                    initializer=_receive,
                    initargs=(problem,),
                )
            )
        return pool[0]

    def closed() -> None:
        while pool:
            pool.pop().shutdown(wait=True, cancel_futures=True)

    def work(candidates: Sequence[RemovedChannels], answered: Answered) -> None:
        waiting = dict(enumerate(candidates))
        losses = 0
        while waiting:
            try:
                _submit_all(opened(), waiting, answered)
            except BrokenProcessPool as error:
                closed()
                losses += 1
                if losses > _MOST_LOSSES:
                    raise _lost("a worker process", error) from error

    try:
        yield work
    finally:
        closed()


def _submit_all(
    executor: Executor, waiting: dict[int, RemovedChannels], answered: Answered
) -> None:
    futures: dict[Future[float], int] = {
        executor.submit(_try_received, drops): index for index, drops in waiting.items()
    }
    for future in as_completed(futures):
        value = future.result()
        index = futures[future]
        del waiting[index]
        answered(index, value)


def _given(problem: CandidateTask) -> CandidateTask:
    return problem


@contextmanager
def dask_workers(problem: CandidateTask, address: str) -> Iterator[Workers]:
    """The workers of a Dask cluster, which must have this package installed.

    Args:
        problem: Sent to each worker once.
        address: Of the scheduler, such as ``tcp://10.0.0.5:8786``.

    Raises:
        MissingBackendError: Dask is not installed.
        WorkerLostError: The scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingBackendError("distributed", "dask") from error
    try:
        client = Client(address, timeout=_SECONDS_TO_CONNECT)
    except (OSError, TimeoutError, ValueError) as error:
        raise WorkerLostError(
            f"no Dask scheduler answers at {address}: {error}",
            remedy="start one (dask scheduler) and workers (dask worker ADDRESS)",
        ) from error

    def work(candidates: Sequence[RemovedChannels], answered: Answered) -> None:
        # A task, not scattered data: what a task made is made again when its worker is lost.
        shared = client.submit(_given, problem, pure=False)
        futures = {
            client.submit(try_candidate, shared, drops, pure=False): index
            for index, drops in enumerate(candidates)
        }
        try:
            _collect(client, futures, answered)
        finally:
            client.cancel(list(futures))

    try:
        yield work
    finally:
        client.close()


def _collect(client: Any, futures: Mapping[Any, int], answered: Answered) -> None:
    from distributed.scheduler import KilledWorker

    waiting = dict(futures)
    alone_since: float | None = None
    while waiting:
        came = False
        for future in list(waiting):
            # "lost" is not an end, though done() says so: the scheduler has it made again.
            if future.status in ("pending", "lost"):
                continue
            try:
                value = float(future.result(timeout=_SECONDS_TO_FETCH))
            except TimeoutError:
                if future.status == "error":
                    raise  # the candidate's own
                continue  # its worker went in between
            except (CancelledError, KilledWorker) as error:
                raise _lost("a Dask worker", error) from error
            came = True
            answered(waiting.pop(future), value)
        if came:
            continue
        # A scheduler without workers would keep the work for ever.
        if client.scheduler_info()["workers"]:
            alone_since = None
        else:
            alone_since = alone_since or time.monotonic()
            if time.monotonic() - alone_since > _SECONDS_WITHOUT_WORKERS:
                raise _lost("every Dask worker", None)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _lost(what: str, error: BaseException | None) -> WorkerLostError:
    told = f": {error}" if error is not None and str(error) else ""
    return WorkerLostError(
        f"{what} was lost while it tried candidates{told}",
        remedy="look for a lack of memory there, use fewer workers, and start again: what was "
        "found so far is kept",
    )
