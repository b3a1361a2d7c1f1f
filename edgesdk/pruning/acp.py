"""ACP: choose widths by clustering feature maps, and refine them by a particle swarm.

Chang et al., "ACP: Automatic Channel Pruning via Clustering and Swarm Intelligence Optimization for
CNN", arXiv 2101.06407; Applied Intelligence 52, 17751-17771 (2022). Fitness is measured on images
held out of the training set, never on the test images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgesdk.errors import PruningError, UsageError
from edgesdk.host.atomic_write import storage_errors, write_atomically
from edgesdk.pruning.budget import Budget, fit_widths, keep_best
from edgesdk.pruning.candidates import CandidateTask
from edgesdk.pruning.clusters import cluster_widths, mean_feature_maps
from edgesdk.pruning.methods import ChannelRanking, MethodSettings
from edgesdk.pruning.problem import PruningProblem
from edgesdk.pruning.ranking import Ranking
from edgesdk.pruning.surgery import pruned_copy
from edgesdk.pruning.swarm import Code, Swarm, SwarmSettings
from edgesdk.pruning.widths_cost import WidthsCost
from edgesdk.pruning.workers import (
    Workers,
    dask_workers,
    executor_workers,
    process_workers,
    serial_workers,
)
from edgesdk.training.data.splits import DataSplits

__all__ = ["AcpProgress", "AcpResult", "acp_counts", "acp_search", "epsilon_for"]

_SMALLEST_EPSILON = 1e-5
_HALVINGS = 24
#: Fitness lost per share of the budget that is exceeded.
_PENALTY = 1.0
#: Attributes of a swarm that a search and the one it resumes have in common.
_IDENTITY = ("start", "largest", "settings")
#: Images whose feature maps are clustered (arXiv 2101.06407, step 1).
_CLUSTERED_IMAGES = 200


@dataclass(frozen=True)
class AcpProgress:
    """Progress of a search.

    Attributes:
        cycle: Current cycle; 0 is the first population.
        cycles: Number of cycles.
        tried: Number of candidates measured so far, before an interruption included.
        best: Best fitness so far.
    """

    cycle: int
    cycles: int
    tried: int
    best: float


@dataclass(frozen=True)
class AcpResult:
    """Result of a search.

    Attributes:
        counts: Width of every group.
        epsilon: Cosine distance of the clustering.
        clustered: Width of every group by clustering alone.
        fitness: Top-1 of the best candidate on the validation images, less the penalty.
        history: Best fitness after each cycle.
        tried: Number of candidates measured.
    """

    counts: dict[str, int]
    epsilon: float
    clustered: dict[str, int]
    fitness: float
    history: tuple[float, ...]
    tried: int


def acp_counts(
    problem: PruningProblem,
    ranking: Ranking,
    data: DataSplits,
    settings: MethodSettings,
    *,
    penalty: Callable[[Mapping[str, int]], float] | None = None,
    source: str | None = None,
    on_progress: Callable[[AcpProgress], None] | None = None,
) -> ChannelRanking:
    """Search widths with ACP.

    Example:
        >>> problem = PruningProblem.of(model, inputs, budget=Budget(macs=0.5))
        >>> acp_counts(problem, l1_ranking(problem.model, problem.channels), data, settings).counts

    Args:
        problem: Model and channels; without a budget, ``settings.epsilon`` is needed.
        ranking: Channels that a candidate inherits.
        data: Labelled images; its ``validation`` images measure fitness.
        settings: Settings of the method.
        penalty: See :func:`acp_search`.
        source: SOURCE of the model, from which other processes build it.
        on_progress: Called after every candidate.

    Raises:
        UsageError: There are no validation images, or neither a budget nor an epsilon.
        WorkerLostError: Too many workers were lost.
    """
    if data.validation is None:
        raise UsageError(
            "ACP measures candidates on validation images",
            remedy="hold some out of the training set: open_data(path, validation=0.1)",
        )
    count = max(_CLUSTERED_IMAGES, len(data.classes))
    maps = mean_feature_maps(
        problem.model,
        problem.channels,
        data.subset(count, settings.seed).train,
        mean=data.mean,
        std=data.std,
    )
    some = data.subset(settings.fitness_images, settings.seed) if settings.fitness_images else data
    task = CandidateTask(
        problem.model,
        some.train,
        some.validation,
        settings.fitness_recipe,
        build=pruned_copy,
        mean=data.mean,
        std=data.std,
        source=source,
    )
    with _workers(task, settings) as workers:
        found = acp_search(
            problem,
            maps,
            ranking,
            workers,
            epsilon=settings.epsilon,
            settings=replace(settings.swarm, seed=settings.seed),
            penalty=penalty,
            state=settings.work and settings.work / "search.json",
            on_progress=on_progress,
        )
    return ChannelRanking(
        ranking,
        found.counts,
        {
            "epsilon": found.epsilon,
            "clustered": found.clustered,
            "fitness": found.fitness,
            "best_by_cycle": list(found.history),
            "candidates": found.tried,
        },
    )


def _workers(task: CandidateTask, settings: MethodSettings) -> AbstractContextManager[Workers]:
    if settings.dask:
        return dask_workers(task, settings.dask)
    if settings.executor is not None:
        return executor_workers(task, settings.executor)
    if settings.processes:
        return process_workers(task, settings.processes)
    return serial_workers(task)


def epsilon_for(
    maps: Mapping[str, np.ndarray], cost: WidthsCost, budget: Budget
) -> tuple[float, dict[str, int]]:
    """Return the cosine distance whose clusters come nearest to a budget, and their widths."""
    low, high = math.log(_SMALLEST_EPSILON), math.log(2.0)
    nearest: tuple[float, float, dict[str, int]] | None = None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        widths = cluster_widths(maps, math.exp(middle))
        excess = budget.excess(cost(widths), cost.full)
        miss = max(map(abs, excess))
        if nearest is None or miss < nearest[0]:
            nearest = (miss, math.exp(middle), widths)
        if excess[0] > 0:
            low = middle
        else:
            high = middle
    if nearest is None:
        raise PruningError("no clustering was tried", remedy="give feature maps")
    return nearest[1], nearest[2]


def acp_search(
    problem: PruningProblem,
    maps: Mapping[str, np.ndarray],
    ranking: Ranking,
    workers: Workers,
    *,
    epsilon: float | None = None,
    settings: SwarmSettings | None = None,
    penalty: Callable[[Mapping[str, int]], float] | None = None,
    state: Path | None = None,
    on_progress: Callable[[AcpProgress], None] | None = None,
) -> AcpResult:
    """Cluster feature maps, search around the clusters, return the best widths.

    Args:
        problem: Channels, their cost and the budget. With a budget, particle 0 is the code of
            the clusters moved onto it, and candidates above it lose fitness. Without one, it is
            the code of the clusters, and fitness is accuracy alone, as published.
        maps: Mean feature maps of the channels.
        ranking: Channels that a candidate inherits: by L1 norm, or at random.
        workers: Evaluate the candidates.
        epsilon: Cosine distance of the clustering; None to derive it from the budget.
        settings: Settings of the swarm.
        penalty: Fitness that widths lose, such as for a measured latency; replaces the penalty of
            the budget, which then only sets where the search begins.
        state: JSON file that keeps the search; an existing one is resumed.
        on_progress: Called after every candidate.

    Raises:
        UsageError: There is neither an epsilon nor a budget, or ``state`` is of another search.
        BudgetError: No widths meet the budget.
        WorkerLostError: Too many workers were lost; ``state`` keeps the results so far.
    """
    channels, cost, budget, rule = problem.channels, problem.cost, problem.budget, problem.rule
    settings = settings or SwarmSettings()
    if epsilon is not None:
        clustered = cluster_widths(maps, epsilon)
    elif budget is not None:
        epsilon, clustered = epsilon_for(maps, cost, budget)
    else:
        raise UsageError("ACP has neither an epsilon nor a budget", remedy="give one of them")
    groups = channels.groups
    start = {g.name: rule.nearest(g, clustered[g.name]) for g in groups}
    if budget is not None:
        start = fit_widths(start, channels, cost, budget, rule)
    swarm = Swarm(tuple(start.values()), tuple(g.width for g in groups), settings=settings)
    swarm = _resumed(state, swarm)

    def widths(code: Code) -> dict[str, int]:
        return {g.name: rule.nearest(g, value) for g, value in zip(groups, code, strict=True)}

    def excess(counts: Mapping[str, int]) -> float:
        return 0.0 if budget is None else _PENALTY * budget.relative_excess(cost(counts), cost.full)

    def evaluate(codes: Sequence[Code]) -> Mapping[Code, float]:
        drops = [channels.drops(keep_best(ranking, channels, widths(code))) for code in codes]

        def on_result(index: int, top1: float) -> None:
            code = codes[index]
            swarm.evaluated[code] = top1 - (penalty or excess)(widths(code))
            _save(state, swarm)
            if on_progress is not None:
                best = max(swarm.evaluated.values())
                on_progress(AcpProgress(swarm.cycle, settings.cycles, len(swarm.evaluated), best))

        workers(drops, on_result)
        return {code: swarm.evaluated[code] for code in codes}

    best = swarm.search(evaluate, after_cycle=lambda swarm: _save(state, swarm))
    counts = widths(best)
    if budget is not None and penalty is None:
        counts = fit_widths(counts, channels, cost, budget, rule)
    return AcpResult(
        counts,
        float(epsilon),
        clustered,
        swarm.evaluated[best],
        tuple(swarm.history),
        len(swarm.evaluated),
    )


def _resumed(state: Path | None, swarm: Swarm) -> Swarm:
    if state is None or not state.exists():
        return swarm
    try:
        found = Swarm.resumed(json.loads(state.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{state} cannot be read: {error}", remedy="delete it") from error
    if any(getattr(found, name) != getattr(swarm, name) for name in _IDENTITY):
        raise UsageError(
            f"{state} belongs to a search of another model, budget or settings",
            remedy="delete it or name another file",
        )
    return found


def _save(state: Path | None, swarm: Swarm) -> None:
    if state is not None:
        with storage_errors("cannot write", state):
            state.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(state, json.dumps(swarm.state()).encode())
