"""Pruning methods by name: from a trained model to the channels that stay."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.pruning.budget import Selection, above_threshold, keep_best, select
from edgesdk.pruning.problem import PruningProblem
from edgesdk.pruning.ranking import Ranking, group_norm_ranking, l1_ranking, random_ranking
from edgesdk.pruning.swarm import SwarmSettings
from edgesdk.pruning.ucp import ucp_ranking
from edgesdk.training.data.splits import DataSplits
from edgesdk.training.history import Progress
from edgesdk.training.recipes import Recipe

__all__ = ["METHODS", "ChannelRanking", "MethodSettings", "check_method", "rank", "select_channels"]

#: Name -> short description.
METHODS = {
    "acp": "clusters of feature maps, refined by a particle swarm",
    "group_norm": "smallest norm over all layers of a group, the same share of each",
    "l1": "smallest L1 norm, the same share of each group",
    "random": "at random, the same share of each group",
    "ucp": "trained gates below a share of their layer's mean",
}

#: Most images over which the gates of UCP are averaged.
_SCORED_IMAGES = 5000


@dataclass(frozen=True)
class MethodSettings:
    """Settings of the pruning methods.

    Attributes:
        seed: Seed of everything random.
        gate_recipe: Recipe that trains UCP's gated network; None for the recipe of the whole run.
        gate_place: ``layer`` or ``norm``, see :func:`edgesdk.pruning.channel_gates.with_gates`.
        fitness_recipe: Recipe that trains a candidate of ACP; None to measure it untrained.
        epsilon: Cosine distance of ACP's clusters; None to derive it from the budget.
        swarm: Settings of ACP's swarm.
        inherit: Channels that a candidate of ACP keeps: ``l1`` (largest norm) or ``random``.
        fitness_images: Most training images of a candidate; 0 for all.
        processes: Number of processes that evaluate candidates; 0 for this one.
        dask: Address of a Dask scheduler whose workers evaluate candidates.
        executor: Executor that evaluates candidates; the task travels with each candidate.
        work: Folder that keeps trainings and searches, to resume after an interruption.
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
                "candidates cannot be evaluated in several places at once",
                remedy="choose one of processes, a Dask cluster and an executor",
            )


@dataclass(frozen=True)
class ChannelRanking:
    """Result of a method before channels are selected.

    Attributes:
        ranking: Priorities of all channels.
        counts: Widths, if the method chooses them itself; else None.
        findings: Further findings, as JSON.
        start: Network to remove the channels from; None for the model itself.
    """

    ranking: Ranking
    counts: dict[str, int] | None = None
    findings: dict[str, Any] = field(default_factory=dict)
    start: nn.Module | None = None


def check_method(method: str) -> None:
    """Check the name of a method.

    Raises:
        UnknownNameError: The name is not in :data:`METHODS`.
    """
    if method not in METHODS:
        raise UnknownNameError("pruning method", method, METHODS)


def rank(
    method: str,
    problem: PruningProblem,
    settings: MethodSettings,
    *,
    data: DataSplits | None = None,
    recipe: Recipe | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> ChannelRanking:
    """Rank all channels by a method; for ACP, by what its candidates inherit.

    Args:
        method: A key of :data:`METHODS`.
        problem: Model and channels.
        settings: Settings of the method.
        data: Labelled images; ``ucp`` needs them.
        recipe: Recipe of UCP's training, if ``settings.gate_recipe`` is None.
        on_progress: Called during UCP's training.

    Raises:
        UnknownNameError: Unknown method.
        UsageError: ``ucp`` lacks data or a recipe.
    """
    check_method(method)
    model, channels = problem.model, problem.channels
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
        on_progress=on_progress,
    )
    return ChannelRanking(ranking, start=start)


def select_channels(
    ranked: ChannelRanking, problem: PruningProblem, *, threshold: float | None = None
) -> Selection:
    """Select the channels that stay: by the method's widths, the budget, or a threshold.

    Args:
        ranked: Result of the method.
        problem: Channels, their cost, and the budget.
        threshold: UCP's ``1 + lambda``, used without a budget.

    Raises:
        UsageError: There are neither widths nor a budget nor a threshold.
        BudgetError: The budget cannot be met.
    """
    channels, cost, rule = problem.channels, problem.cost, problem.rule
    if ranked.counts is not None:
        counts = ranked.counts
    elif problem.budget is not None:
        return select(ranked.ranking, channels, cost, problem.budget, rule)
    elif threshold is not None:
        above = above_threshold(ranked.ranking, channels, threshold)
        counts = {group.name: rule.nearest(group, above[group.name]) for group in channels.groups}
    else:
        raise UsageError(
            "no budget was given",
            remedy="give --flops -50%, --params, --latency, or --gate-threshold for ucp",
        )
    kept = keep_best(ranked.ranking, channels, counts)
    return Selection(kept, cost(counts), cost.full, threshold)
