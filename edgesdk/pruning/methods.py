"""The pruning methods by name, from a trained model to the channels that stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.pruning.acp import AcpProgress, acp_search
from edgesdk.pruning.budget import (
    Budget,
    Selection,
    WidthRule,
    above_threshold,
    keep_best,
    select,
)
from edgesdk.pruning.candidates import CandidateTask
from edgesdk.pruning.clusters import mean_feature_maps
from edgesdk.pruning.groups import Channels
from edgesdk.pruning.ranking import (
    Ranking,
    group_norm_ranking,
    l1_ranking,
    random_ranking,
)
from edgesdk.pruning.swarm import SwarmSettings
from edgesdk.pruning.ucp import ucp_ranking
from edgesdk.pruning.widths_cost import WidthsCost
from edgesdk.pruning.workers import (
    Workers,
    dask_workers,
    executor_workers,
    process_workers,
    serial_workers,
)
from edgesdk.training.data.splits import DataSplits
from edgesdk.training.history import Progress
from edgesdk.training.recipes import Recipe

__all__ = [
    "METHODS",
    "ChannelRanking",
    "MethodSettings",
    "acp_counts",
    "rank",
    "select_channels",
]

#: Name -> what it does, in a few words.
METHODS = {
    "acp": "clusters of feature maps, refined by a particle swarm",
    "group_norm": "smallest norm over all layers of a group, the same share of each",
    "l1": "smallest L1 norm, the same share of each group",
    "random": "at random, the same share of each group",
    "ucp": "trained gates below a share of their layer's mean",
}

#: Images whose feature maps ACP clusters (arXiv 2101.06407, step 1).
_CLUSTERED_IMAGES = 200
#: Images the gates of UCP are averaged over, at most.
_SCORED_IMAGES = 5000


@dataclass(frozen=True)
class MethodSettings:
    """What a method may be told.

    Attributes:
        seed: Of everything random.
        gate_recipe: How UCP trains the gated network; None for the recipe of the whole run.
        gate_place: ``layer`` or ``norm``, see :func:`edgesdk.pruning.channel_gates.with_gates`.
        fitness_recipe: How ACP trains a candidate; None to measure it untrained.
        epsilon: ACP's cosine distance; None to choose it by the budget.
        swarm: ACP's swarm.
        inherit: Channels a candidate of ACP keeps: those of the largest ``l1`` norm, or
            ``random`` ones.
        fitness_images: Training images of a candidate, at most; 0 for all.
        processes: Processes that try candidates; 0 for this one.
        dask: Address of a Dask scheduler whose workers try them instead.
        executor: Any executor that tries them instead; the problem travels with each candidate.
        work: Folder that keeps trainings and searches, to go on from after an interruption.
    """

    seed: int = 0
    gate_recipe: Recipe | None = None
    gate_place: str = "layer"
    fitness_recipe: Recipe | None = None
    epsilon: float | None = None
    swarm: SwarmSettings = field(default_factory=SwarmSettings)
    inherit: str = "l1"
    fitness_images: int = 0
    processes: int = 0
    dask: str = ""
    executor: Executor | None = None
    work: Path | None = None

    def __post_init__(self) -> None:
        if self.inherit not in ("l1", "random"):
            raise UnknownNameError("choice of inherited channels", self.inherit, ("l1", "random"))
        if sum(map(bool, (self.dask, self.processes, self.executor is not None))) > 1:
            raise UsageError(
                "several places to try candidates in",
                remedy="choose one of processes, a Dask cluster and an executor",
            )


@dataclass(frozen=True)
class ChannelRanking:
    """What a method knows before a budget is set.

    Attributes:
        ranking: Priorities of all channels.
        counts: Widths, where the method chooses these itself; else None.
        told: What it found, as JSON.
        start: Network to remove the channels from, where it is not the model itself.
    """

    ranking: Ranking
    counts: dict[str, int] | None = None
    told: dict[str, Any] = field(default_factory=dict)
    start: nn.Module | None = None


def check_method(method: str) -> None:
    """Refuse a method nobody knows.

    Raises:
        UnknownNameError: It is none of :data:`METHODS`.
    """
    if method not in METHODS:
        raise UnknownNameError("pruning method", method, METHODS)


def rank(
    method: str,
    model: nn.Module,
    channels: Channels,
    settings: MethodSettings,
    *,
    data: DataSplits | None = None,
    recipe: Recipe | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ChannelRanking:
    """Priorities of all channels by a method; ACP's are those of what its candidates inherit.

    Args:
        method: A key of :data:`METHODS`.
        model: The trained model.
        channels: Found in it.
        settings: See :class:`MethodSettings`.
        data: Labelled images, which ``ucp`` and ``acp`` need.
        recipe: How UCP trains, where its settings say nothing else.
        progress: Called as UCP's training goes on.

    Raises:
        UnknownNameError: No such method.
        UsageError: Data or a recipe is missing.
    """
    check_method(method)
    if method == "l1" or (method == "acp" and settings.inherit == "l1"):
        return ChannelRanking(l1_ranking(model, channels))
    if method == "group_norm":
        return ChannelRanking(group_norm_ranking(model, channels))
    if method in ("random", "acp"):
        return ChannelRanking(random_ranking(channels, settings.seed))
    chosen = settings.gate_recipe or recipe
    if data is None or chosen is None:
        raise UsageError("ucp trains a gated network", remedy="give labelled images with --data")
    scored = data.subset(max(_SCORED_IMAGES, len(data.classes)), settings.seed).train
    ranking, start = ucp_ranking(
        model,
        channels,
        data.train,
        chosen,
        scored_on=scored,
        mean=data.mean,
        std=data.std,
        place=settings.gate_place,
        checkpoint=settings.work and settings.work / "gates",
        progress=progress,
    )
    return ChannelRanking(ranking, start=start)


def acp_counts(
    model: nn.Module,
    channels: Channels,
    ranking: Ranking,
    cost: WidthsCost,
    data: DataSplits,
    settings: MethodSettings,
    *,
    budget: Budget | None,
    rule: WidthRule,
    penalty: Callable[[Mapping[str, int]], float] | None = None,
    source: str | None = None,
    progress: Callable[[AcpProgress], None] | None = None,
) -> ChannelRanking:
    """Search widths with ACP.

    Args:
        model: The trained model.
        channels: Found in it.
        ranking: Which channels a candidate inherits.
        cost: What widths cost.
        data: Its ``validation`` images measure fitness.
        settings: See :class:`MethodSettings`.
        budget: What may stay; needed where ``settings.epsilon`` is None.
        rule: Which widths are allowed.
        penalty: See :func:`edgesdk.pruning.acp.acp_search`.
        source: SOURCE of the model, to build it again in other processes.
        progress: Called after every candidate.

    Raises:
        UsageError: No validation images, or neither a budget nor an epsilon.
        WorkerLostError: Too many workers were lost.
    """
    if data.validation is None:
        raise UsageError(
            "ACP measures candidates on validation images",
            remedy="hold some out of the training set: --validation 0.1",
        )
    count = max(_CLUSTERED_IMAGES, len(data.classes))
    maps = mean_feature_maps(
        model,
        channels,
        data.subset(count, settings.seed).train,
        mean=data.mean,
        std=data.std,
    )
    some = data.subset(settings.fitness_images, settings.seed) if settings.fitness_images else data
    problem = CandidateTask(
        model,
        some.train,
        some.validation,
        settings.fitness_recipe,
        mean=data.mean,
        std=data.std,
        source=source,
    )
    with _workers(problem, settings) as workers:
        found = acp_search(
            channels,
            maps,
            ranking,
            cost,
            workers,
            epsilon=settings.epsilon,
            budget=budget,
            settings=replace(settings.swarm, seed=settings.seed),
            rule=rule,
            penalty=penalty,
            state=settings.work and settings.work / "search.json",
            progress=progress,
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


@contextmanager
def _workers(problem: CandidateTask, settings: MethodSettings) -> Iterator[Workers]:
    if settings.dask:
        with dask_workers(problem, settings.dask) as workers:
            yield workers
    elif settings.executor is not None:
        with executor_workers(problem, settings.executor) as workers:
            yield workers
    elif settings.processes:
        with process_workers(problem, settings.processes) as workers:
            yield workers
    else:
        with serial_workers(problem) as workers:
            yield workers


def select_channels(
    ranked: ChannelRanking,
    channels: Channels,
    cost: WidthsCost,
    *,
    budget: Budget | None = None,
    threshold: float | None = None,
    rule: WidthRule | None = None,
) -> Selection:
    """The channels that stay: by the method's own widths, by a threshold, or by a budget.

    Args:
        ranked: What the method found.
        channels: The groups.
        cost: What widths cost.
        budget: What may stay.
        threshold: UCP's ``1 + lambda``; used where no budget is given.
        rule: Which widths are allowed.

    Raises:
        UsageError: Nothing says how much goes.
        BudgetError: The budget cannot be met.
    """
    rule = rule or WidthRule()
    if ranked.counts is not None:
        counts = ranked.counts
    elif budget is not None:
        return select(ranked.ranking, channels, cost, budget, rule)
    elif threshold is not None:
        above = above_threshold(ranked.ranking, channels, threshold)
        counts = {group.name: rule.nearest(group, above[group.name]) for group in channels.groups}
    else:
        raise UsageError(
            "nothing says how much is to be removed",
            remedy="give --flops -50%, --params, --latency, or --factor for ucp",
        )
    kept = keep_best(ranked.ranking, channels, counts)
    return Selection(kept, cost(counts), cost.full, threshold)
