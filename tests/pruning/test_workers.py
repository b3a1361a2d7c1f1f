"""Candidates tried here, in processes, in executors and on a Dask cluster: one answer."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest
import torch

from edgesdk import models
from edgesdk.errors import UsageError, WorkerLostError
from edgesdk.pruning import workers as places
from edgesdk.pruning.candidates import CandidateTask, try_candidate
from edgesdk.pruning.channels import find_channels
from edgesdk.pruning.surgery import pruned_copy
from edgesdk.pruning.workers import (
    dask_workers,
    executor_workers,
    process_workers,
    serial_workers,
)
from edgesdk.training import LabelledImages, Recipe

RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=0.05, optimizer="sgd", seed=3)


def labelled(count: int, seed: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = (
        torch.randint(0, 80, (count, 1, 12, 12), generator=generator)
        + 60 * labels[:, None, None, None]
    )
    return LabelledImages(images.to(torch.uint8), labels, ("a", "b", "c"), "made")


@pytest.fixture(scope="module")
def task():
    model = models.create("resnet20", num_classes=3, in_channels=1)
    return CandidateTask(
        model, labelled(48, 0), labelled(30, 1), RECIPE, pruned_copy, mean=(0.5,), std=(0.3,)
    )


@pytest.fixture(scope="module")
def candidates(task):
    channels = find_channels(task.model, torch.randn(1, 1, 12, 12))
    return [
        group.drops(range(count))
        for count, group in zip((2, 7, 11, 30), channels.groups[::2], strict=False)
    ]


def results(evaluate, candidates):
    found = {}
    evaluate(candidates, found.__setitem__)
    return [found[index] for index in range(len(candidates))]


@pytest.fixture(scope="module")
def expected(task, candidates):
    with serial_workers(task) as evaluate:
        return results(evaluate, candidates)


def test_one_after_the_other(task, candidates, expected):
    assert len(set(expected)) > 1
    threads = torch.get_num_threads()
    assert try_candidate(task, candidates[0]) == expected[0]
    assert torch.get_num_threads() == threads


def test_threads_of_the_caller(task, candidates, expected):
    with ThreadPoolExecutor(3) as executor, executor_workers(task, executor) as evaluate:
        assert results(evaluate, candidates) == expected


def test_two_processes(task, candidates, expected):
    with process_workers(task, 2) as evaluate:
        assert results(evaluate, candidates) == expected
    with pytest.raises(UsageError, match="0 worker processes"), process_workers(task, 0):
        pass


def test_a_killed_process_is_replaced(task, candidates, expected):
    stop = threading.Event()

    def kill_the_first():
        me = psutil.Process()
        while not stop.is_set():
            for child in me.children():
                if "spawn_main" in " ".join(child.cmdline()):
                    time.sleep(1.0)
                    os.kill(child.pid, signal.SIGKILL)
                    return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    try:
        with process_workers(task, 1) as evaluate:
            assert results(evaluate, candidates) == expected
    finally:
        stop.set()
        killer.join()


class AlwaysBroken(Executor):
    """What a pool looks like whose processes die at once, each time."""

    opened = 0

    def __init__(self, *given, **more):
        type(self).opened += 1

    def submit(self, function, /, *given, **more):
        future: Future = Future()
        future.set_exception(BrokenProcessPool("killed"))
        return future


def test_processes_that_keep_dying_end_the_search(task, candidates, monkeypatch):
    monkeypatch.setattr(places, "ProcessPoolExecutor", AlwaysBroken)
    with process_workers(task, 1) as evaluate, pytest.raises(WorkerLostError, match="was lost"):
        results(evaluate, candidates)
    assert AlwaysBroken.opened == 3
    with (
        executor_workers(task, AlwaysBroken()) as evaluate,
        pytest.raises(WorkerLostError, match="of the executor was lost"),
    ):
        results(evaluate, candidates)


def test_the_problem_travels_by_its_source():
    model = models.create("resnet20")
    with torch.no_grad():
        model.classifier.bias.fill_(0.25)
    sent = pickle.dumps(CandidateTask(model, None, None, None, pruned_copy, source="resnet20"))
    assert b"CifarResNet" not in sent
    received = pickle.loads(sent)  # noqa: S301 - our own bytes
    assert received.model.classifier.bias[0].item() == 0.25


def test_a_candidate_that_diverges_gets_nothing(task, candidates):
    wild = CandidateTask(
        task.model,
        task.train,
        task.validation,
        RECIPE.changed(learning_rate=1e30, epochs=2),
        pruned_copy,
    )
    assert try_candidate(wild, candidates[0]) == 0.0


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


def kill_worker_of(cluster):
    """Its nanny starts another one; what was lost with it is made again."""
    [worker] = cluster.workers.values()
    os.kill(worker.pid, signal.SIGKILL)


def test_a_dask_cluster_gives_the_serial_answer(task, candidates, expected, cluster):
    with dask_workers(task, cluster.scheduler_address) as evaluate:
        assert results(evaluate, candidates) == expected


def test_a_lost_dask_worker(task, candidates, expected, cluster, monkeypatch):
    with dask_workers(task, cluster.scheduler_address) as evaluate:
        found = {}

        def on_result(index, value):
            found[index] = value
            if len(found) == 1:
                kill_worker_of(cluster)

        evaluate(candidates, on_result)
        assert [found[index] for index in range(len(candidates))] == expected
        monkeypatch.setattr(places, "_SECONDS_WITHOUT_WORKERS", 1.0)
        cluster.scale(0)
        with pytest.raises(WorkerLostError, match="every Dask worker was lost"):
            results(evaluate, candidates)


def test_answers_lost_before_they_were_fetched(task, candidates, expected, cluster):
    from distributed import Client, wait

    with Client(cluster.scheduler_address) as client:
        shared = client.submit(places._identity, task, pure=False)
        futures = {
            client.submit(try_candidate, shared, drops, pure=False): index
            for index, drops in enumerate(candidates)
        }
        wait(list(futures), timeout=120)
        found = {}

        def on_result(index, value):
            found[index] = value
            if len(found) == 1:
                kill_worker_of(cluster)
                until = time.monotonic() + 60
                while all(future.status != "lost" for future in futures):
                    assert time.monotonic() < until
                    time.sleep(0.01)

        places._collect(client, futures, on_result)
    assert [found[index] for index in range(len(candidates))] == expected


def test_how_a_dask_candidate_ends_without_an_answer(cluster):
    from distributed import Client

    def collected(future):
        places._collect(client, {future: 0}, lambda index, value: None)

    with Client(cluster.scheduler_address) as client:
        for error in (ValueError, TimeoutError):
            failing = client.submit(exec, f"raise {error.__name__}('its own')", {}, pure=False)
            with pytest.raises(error, match="its own"):
                collected(failing)
        cancelled = client.submit(time.sleep, 30, pure=False)
        cancelled.cancel()
        with pytest.raises(WorkerLostError, match="a Dask worker was lost"):
            collected(cancelled)


def test_no_scheduler(task, monkeypatch):
    monkeypatch.setattr(places, "_SECONDS_TO_CONNECT", 1)
    with (
        pytest.raises(WorkerLostError, match="no Dask scheduler answers"),
        dask_workers(task, "tcp://127.0.0.1:9"),
    ):
        pass
