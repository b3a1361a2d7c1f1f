"""Choose widths by their measured latency on a device instead of by their FLOPs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self

from edgesdk.errors import BudgetError
from edgesdk.host.cache import Cache
from edgesdk.host.closing import Closing
from edgesdk.pruning.budget import Budget, LatencyGoal, Selection, fit_widths, keep_best
from edgesdk.pruning.latency_meter import LatencyMeter
from edgesdk.pruning.methods import ChannelRanking, select_channels
from edgesdk.pruning.problem import PruningProblem
from edgesdk.pruning.ranking import Ranking
from edgesdk.pruning.surgery import pruned_copy

__all__ = ["LatencyBudget"]

#: Most conversions and measurements per search.
_STEPS = 6
#: A model faster than the goal by less than this share of the full latency ends the search.
_TOLERANCE = 0.02
#: Latency falls more slowly than FLOPs, because part of it is constant.
_MARGIN = 0.95


class LatencyBudget(Closing):
    """Share of the full model's measured latency that may stay.

    A context manager, because its :class:`~edgesdk.pruning.latency_meter.LatencyMeter` is one.

    Args:
        problem: Full model and its channels; its budget is not used.
        ranking: Channels that stay at given widths; barely affects latency.
        goal: Target, device and share.
        threads: Threads of the runtime.
        cache: Cache of conversions.
        on_progress: Called with a line about each conversion and measurement.
    """

    def __init__(
        self,
        problem: PruningProblem,
        ranking: Ranking,
        goal: LatencyGoal,
        *,
        threads: int = 1,
        cache: Cache | None = None,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.goal = goal
        self._problem, self._ranking, self._on_progress = problem, ranking, on_progress
        self._meter = LatencyMeter(
            problem.inputs, [goal.target], device=goal.device, threads=threads, cache=cache
        )
        self._known: dict[tuple[int, ...], tuple[float, float]] = {}

    def __enter__(self) -> Self:
        self._on_progress(f"converting the full model to {self.goal.target}")
        self._meter.add("full", self._problem.model)
        return self

    def close(self) -> None:
        """Delete the converted models."""
        self._meter.close()

    def __call__(self, counts: Mapping[str, int]) -> tuple[float, float]:
        """Return median latencies in seconds: of the full model and of one with these widths."""
        key = tuple(counts.values())
        if key not in self._known:
            name = f"small {len(self._known)}"
            channels = self._problem.channels
            kept = keep_best(self._ranking, channels, counts)
            self._meter.add(name, pruned_copy(self._problem.model, channels.drops(kept)))
            times = self._meter.measure(["full", name])
            pair = (times["full", self.goal.target], times[name, self.goal.target])
            self._on_progress(
                f"{1000 * pair[0]:.2f} ms became {1000 * pair[1]:.2f} ms on {self.goal.target}"
            )
            self._known[key] = pair
        return self._known[key]

    def penalty(self, counts: Mapping[str, int]) -> float:
        """Return the excess of these widths over the goal, as a share of the goal."""
        full, small = self(counts)
        return max(0.0, small / full / self.goal.share - 1)

    def require(self, counts: Mapping[str, int]) -> tuple[float, float]:
        """Return the latencies of these widths if they meet the goal.

        Raises:
            BudgetError: They do not meet it.
        """
        full, small = self(counts)
        if small / full > self.goal.share:
            raise self._unmet(small / full)
        return full, small

    def narrow(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Narrow widths in proportion until they meet the goal.

        Args:
            counts: Widths found by a search.

        Raises:
            BudgetError: A few steps do not suffice; the message has the nearest latency.
        """
        found = dict(counts)
        nearest = 1.0
        cost, channels, rule = self._problem.cost, self._problem.channels, self._problem.rule
        for _ in range(_STEPS):
            full, small = self(found)
            nearest = min(nearest, small / full)
            if small / full <= self.goal.share:
                return found
            share = cost(found).macs / cost.full.macs * self.goal.share / (small / full)
            found = fit_widths(found, channels, cost, Budget(macs=share * _MARGIN), rule)
        raise self._unmet(nearest)

    def select(self, ranked: ChannelRanking) -> tuple[Selection, tuple[float, float]]:
        """Bisect the share of FLOPs until the model meets the goal.

        Args:
            ranked: Order in which channels go.

        Returns:
            The channels that stay, and the median latencies as :meth:`__call__` returns them.

        Raises:
            BudgetError: No model tried was fast enough; the message has the fastest.
        """
        low, high, share = 0.0, 1.0, self.goal.share
        best: tuple[float, Selection, tuple[float, float]] | None = None
        fastest = 1.0
        for _ in range(_STEPS):
            try:
                selection = select_channels(ranked, replace(self._problem, budget=Budget(share)))
            except BudgetError:
                low, share = share, (share + high) / 2
                continue
            pair = self({name: len(kept) for name, kept in selection.kept.items()})
            ratio = pair[1] / pair[0]
            fastest = min(fastest, ratio)
            if ratio <= self.goal.share and (best is None or ratio > best[0]):
                best = (ratio, selection, pair)
            if self.goal.share - _TOLERANCE <= ratio <= self.goal.share:
                break
            low, high = (low, share) if ratio > self.goal.share else (share, high)
            share = (low + high) / 2
        if best is None:
            raise self._unmet(fastest)
        return best[1], best[2]

    def _unmet(self, nearest: float) -> BudgetError:
        """Make the error of a goal that no model meets."""
        goal = self.goal
        return BudgetError(
            f"no network of at most {100 * goal.share:.4g} % of the latency was found on "
            f"{goal.target} at {goal.device}; the nearest has {100 * nearest:.0f} %",
            remedy="ask for a smaller cut, protect fewer layers, or run edgesdk profile to see "
            "which operators take the time",
        )
