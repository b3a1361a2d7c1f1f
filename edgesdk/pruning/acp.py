"""ACP: widths by clustering feature maps, refined by a particle swarm.

Chang et al., "ACP: Automatic Channel Pruning via Clustering and Swarm Intelligence Optimization for
CNN", arXiv 2101.06407; Applied Intelligence 52, 17751-17771 (2022). Fitness is measured on images
held out of the training set, never on the test images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesdk.errors import PruningError, UsageError
from edgesdk.host.atomic_write import storage_errors, write_atomically
from edgesdk.pruning.budget import Budget, WidthRule, fit_widths, keep_best
from edgesdk.pruning.clusters import cluster_widths
from edgesdk.pruning.groups import Channels
from edgesdk.pruning.ranking import Ranking
from edgesdk.pruning.swarm import Code, Swarm, SwarmSettings
from edgesdk.pruning.widths_cost import WidthsCost
from edgesdk.pruning.workers import Workers

__all__ = ["AcpProgress", "AcpResult", "acp_search", "epsilon_for"]

_SMALLEST_EPSILON = 1e-5
_HALVINGS = 24
#: Fitness lost for each part of the budget that is exceeded.
_PENALTY = 1.0


@dataclass(frozen=True)
class AcpProgress:
    """How far a search is.

    Attributes:
        cycle: Cycle at work, from 0, the first population.
        cycles: Cycles in all.
        tried: Candidates measured so far, those of earlier calls included.
        best: Best fitness so far.
    """

    cycle: int
    cycles: int
    tried: int
    best: float


@dataclass(frozen=True)
class AcpResult:
    """What a search found.

    Attributes:
        counts: Width of every group.
        epsilon: Cosine distance the clustering used.
        clustered: Width of every group by clustering alone.
        fitness: Top-1 on the validation images of the best candidate, less the penalty.
        history: Best fitness after each cycle.
        tried: Candidates measured.
    """

    counts: dict[str, int]
    epsilon: float
    clustered: dict[str, int]
    fitness: float
    history: tuple[float, ...]
    tried: int


def epsilon_for(
    maps: Mapping[str, np.ndarray], cost: WidthsCost, budget: Budget
) -> tuple[float, dict[str, int]]:
    """The cosine distance whose clusters come nearest to a budget.

    Returns:
        The distance and the widths.
    """
    low, high = math.log(_SMALLEST_EPSILON), math.log(2.0)
    nearest: tuple[float, float, dict[str, int]] | None = None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        widths = cluster_widths(maps, math.exp(middle))
        spent = cost(widths)
        miss = budget.miss(spent, cost.full)
        if nearest is None or miss < nearest[0]:
            nearest = (miss, math.exp(middle), widths)
        share = spent.macs / cost.full.macs if budget.macs else spent.params / cost.full.params
        if share > (budget.macs or budget.params or 0.0):
            low = middle
        else:
            high = middle
    if nearest is None:
        raise PruningError("no clustering was tried", remedy="give feature maps")
    return nearest[1], nearest[2]


def acp_search(
    channels: Channels,
    maps: Mapping[str, np.ndarray],
    ranking: Ranking,
    cost: WidthsCost,
    workers: Workers,
    *,
    epsilon: float | None = None,
    budget: Budget | None = None,
    settings: SwarmSettings | None = None,
    rule: WidthRule | None = None,
    penalty: Callable[[Mapping[str, int]], float] | None = None,
    state: Path | None = None,
    progress: Callable[[AcpProgress], None] | None = None,
) -> AcpResult:
    """Cluster, search around the clusters, return the best widths.

    Args:
        channels: Groups of the model.
        maps: Their mean feature maps.
        ranking: Which channels a candidate inherits: by L1 norm, or at random.
        cost: What widths cost.
        workers: Try candidates.
        epsilon: Cosine distance of the clustering; None to choose it by ``budget``.
        budget: Share of the network that may stay. Particle 0 is the clusters' code moved onto it,
            and candidates above it lose fitness. Without one particle 0 is the clusters' code and
            fitness is accuracy alone, as published.
        settings: Of the swarm.
        rule: Which widths are allowed.
        penalty: Fitness that widths lose, in place of the budget's own term: a measured latency,
            say. ``budget`` then only chooses where the search begins.
        state: JSON file that keeps the search; with one there it goes on from it.
        progress: Called after every candidate.

    Raises:
        UsageError: Neither ``epsilon`` nor ``budget``, or a ``state`` of another search.
        BudgetError: No widths meet the budget.
        WorkerLostError: Too many workers were lost; ``state`` keeps what was found.
    """
    rule = rule or WidthRule()
    settings = settings or SwarmSettings()
    if epsilon is None and budget is None:
        raise UsageError("neither epsilon nor a budget", remedy="give one of them")
    if epsilon is None and budget is not None:
        epsilon, clustered = epsilon_for(maps, cost, budget)
    else:
        clustered = cluster_widths(maps, epsilon or 0.0)
    groups = channels.groups
    start = {g.name: rule.nearest(g, clustered[g.name]) for g in groups}
    if budget is not None:
        start = fit_widths(start, channels, cost, budget, rule)
    swarm = _opened(
        state,
        Swarm(
            tuple(start[g.name] for g in groups), tuple(g.width for g in groups), settings=settings
        ),
    )

    def widths(code: Code) -> dict[str, int]:
        return {g.name: rule.nearest(g, value) for g, value in zip(groups, code, strict=True)}

    def lost(code: Code) -> float:
        if penalty is not None:
            return penalty(widths(code))
        return _penalty(cost, widths(code), budget)

    def evaluate(codes: Sequence[Code]) -> Mapping[Code, float]:
        drops = [channels.drops(keep_best(ranking, channels, widths(code))) for code in codes]

        def answered(index: int, top1: float) -> None:
            code = codes[index]
            swarm.evaluated[code] = top1 - lost(code)
            _save(state, swarm)
            if progress is not None:
                best = max(swarm.evaluated.values())
                told = AcpProgress(swarm.cycle, settings.cycles, len(swarm.evaluated), best)
                progress(told)

        workers(drops, answered)
        return {code: swarm.evaluated[code] for code in codes}

    best = swarm.search(evaluate, after_cycle=lambda swarm: _save(state, swarm))
    counts = widths(best)
    if budget is not None and penalty is None:
        counts = fit_widths(counts, channels, cost, budget, rule)
    return AcpResult(
        counts,
        float(epsilon or 0.0),
        clustered,
        swarm.evaluated[best],
        tuple(swarm.history),
        len(swarm.evaluated),
    )


def _penalty(cost: WidthsCost, widths: Mapping[str, int], budget: Budget | None) -> float:
    if budget is None:
        return 0.0
    spent = cost(widths)
    over = 0.0
    if budget.macs is not None:
        over = max(over, spent.macs / (cost.full.macs * budget.macs) - 1)
    if budget.params is not None:
        over = max(over, spent.params / (cost.full.params * budget.params) - 1)
    return _PENALTY * over


def _opened(state: Path | None, swarm: Swarm) -> Swarm:
    if state is None or not state.exists():
        return swarm
    try:
        found = Swarm.resumed(json.loads(state.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{state} cannot be read: {error}", remedy="remove it") from error
    same = (found.start, found.largest, found.settings) == (
        swarm.start,
        swarm.largest,
        swarm.settings,
    )
    if not same:
        raise UsageError(
            f"{state} keeps a search of another model, budget or settings",
            remedy="remove it or name another file",
        )
    return found


def _save(state: Path | None, swarm: Swarm) -> None:
    if state is not None:
        with storage_errors("cannot write", state):
            state.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(state, json.dumps(swarm.state()).encode())
