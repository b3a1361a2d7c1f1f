"""Evaluate candidates here, in an executor, in processes of this machine or on a Dask cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol, TypeAlias

from edgesdk.errors import MissingBackendError, UsageError, WorkerLostError
from edgesdk.pruning.candidates import Candidate, CandidateTask, try_candidate

__all__ = ["Workers", "dask_workers", "executor_workers", "process_workers", "serial_workers"]

#: Called with the number of a candidate and its result, in the order in which results come.
OnResult: TypeAlias = "Callable[[int, float], None]"

_MAX_LOSSES = 2
_SECONDS_WITHOUT_WORKERS = 60.0
_SECONDS_BETWEEN_POLLS = 0.5
_SECONDS_TO_CONNECT = 10
_SECONDS_TO_FETCH = 10.0


class Workers(Protocol):
    """Evaluates candidates of one task."""

    def __call__(self, candidates: Sequence[Candidate], on_result: OnResult) -> None:
        """Evaluate all candidates and call ``on_result`` for each in this thread.

        Raises:
            WorkerLostError: Too many workers were lost.
        """


@contextmanager
def serial_workers(task: CandidateTask) -> Iterator[Workers]:
    """Evaluate one candidate after the other in this process."""

    def evaluate(candidates: Sequence[Candidate], on_result: OnResult) -> None:
        for index, candidate in enumerate(candidates):
            on_result(index, try_candidate(task, candidate))

    yield evaluate


@contextmanager
def executor_workers(task: CandidateTask, executor: Executor) -> Iterator[Workers]:
    """Evaluate candidates in an executor of the caller; the task travels with every candidate.

    Args:
        task: Data that candidates share.
        executor: Executor; stays open.
    """

    def evaluate(candidates: Sequence[Candidate], on_result: OnResult) -> None:
        futures = {
            executor.submit(try_candidate, task, candidate): index
            for index, candidate in enumerate(candidates)
        }
        try:
            for future in as_completed(futures):
                on_result(futures[future], future.result())
        except BrokenProcessPool as error:
            raise _lost("a process of the executor", error) from error
        finally:
            for future in futures:
                future.cancel()

    yield evaluate


_task: CandidateTask | None = None


def _receive(task: CandidateTask) -> None:
    global _task
    _task = task


def _try_received(candidate: Candidate) -> float:
    if _task is None:
        raise UsageError("this process has not received a task", remedy="use process_workers")
    return try_candidate(_task, candidate)


@contextmanager
def process_workers(task: CandidateTask, processes: int) -> Iterator[Workers]:
    """Evaluate candidates in processes of this machine; replace killed ones, twice at most.

    Args:
        task: Data that candidates share; sent to each process once.
        processes: Number of processes.

    Raises:
        UsageError: ``processes`` is less than 1.
    """
    if processes < 1:
        raise UsageError(f"{processes} worker processes", remedy="give 1 or more")
    pool: list[ProcessPoolExecutor] = []

    def open_pool() -> ProcessPoolExecutor:
        if not pool:
            spawn = get_context("spawn")
            pool.append(ProcessPoolExecutor(processes, spawn, _receive, (task,)))
        return pool[0]

    def close_pool() -> None:
        while pool:
            pool.pop().shutdown(wait=True, cancel_futures=True)

    def evaluate(candidates: Sequence[Candidate], on_result: OnResult) -> None:
        waiting = dict(enumerate(candidates))
        losses = 0
        while waiting:
            try:
                _submit_all(open_pool(), waiting, on_result)
            except BrokenProcessPool as error:
                close_pool()
                losses += 1
                if losses > _MAX_LOSSES:
                    raise _lost("a worker process", error) from error

    try:
        yield evaluate
    finally:
        close_pool()


def _submit_all(executor: Executor, waiting: dict[int, Candidate], on_result: OnResult) -> None:
    futures = {
        executor.submit(_try_received, candidate): index for index, candidate in waiting.items()
    }
    for future in as_completed(futures):
        value = future.result()
        del waiting[futures[future]]
        on_result(futures[future], value)


def _identity(task: CandidateTask) -> CandidateTask:
    return task


@contextmanager
def dask_workers(task: CandidateTask, address: str) -> Iterator[Workers]:
    """Evaluate candidates on the workers of a Dask cluster, which must have this package installed.

    Args:
        task: Data that candidates share; sent to each worker once.
        address: Address of the scheduler, such as ``tcp://10.0.0.5:8786``.

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

    def evaluate(candidates: Sequence[Candidate], on_result: OnResult) -> None:
        # A Dask task, not scattered data: Dask computes the result of a task again when its worker
        # is lost.
        shared = client.submit(_identity, task, pure=False)
        futures = {
            client.submit(try_candidate, shared, candidate, pure=False): index
            for index, candidate in enumerate(candidates)
        }
        try:
            _collect(client, futures, on_result)
        finally:
            client.cancel(list(futures))

    try:
        yield evaluate
    finally:
        client.close()


def _collect(client: Any, futures: Mapping[Any, int], on_result: OnResult) -> None:
    from distributed.scheduler import KilledWorker

    waiting = dict(futures)
    alone_since: float | None = None
    while waiting:
        any_result = False
        for future in list(waiting):
            # done() is True for "lost", but the scheduler computes such a future again.
            if future.status in ("pending", "lost"):
                continue
            try:
                value = float(future.result(timeout=_SECONDS_TO_FETCH))
            except TimeoutError:
                if future.status == "error":
                    raise  # raised by the candidate itself
                continue  # its worker was lost in between
            except (CancelledError, KilledWorker) as error:
                raise _lost("a Dask worker", error) from error
            any_result = True
            on_result(waiting.pop(future), value)
        if any_result:
            continue
        # A scheduler without workers would keep the task forever.
        if client.scheduler_info()["workers"]:
            alone_since = None
        else:
            alone_since = alone_since or time.monotonic()
            if time.monotonic() - alone_since > _SECONDS_WITHOUT_WORKERS:
                raise _lost("every Dask worker", None)
        time.sleep(_SECONDS_BETWEEN_POLLS)


def _lost(worker: str, error: BaseException | None) -> WorkerLostError:
    reason = f": {error}" if error is not None and str(error) else ""
    return WorkerLostError(
        f"{worker} was lost while it evaluated candidates{reason}",
        remedy="check whether it ran out of memory, use fewer workers, and start again: results "
        "so far are kept",
    )
