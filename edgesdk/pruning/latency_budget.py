"""Widths by what they take on a device, rather than by what they count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from torch import nn

from edgesdk.errors import BudgetError
from edgesdk.host.cache import Cache
from edgesdk.pruning.budget import Budget, Selection, WidthRule, fit_widths, keep_best
from edgesdk.pruning.groups import Channels
from edgesdk.pruning.latency_meter import LatencyGoal, LatencyMeter
from edgesdk.pruning.methods import ChannelRanking, select_channels
from edgesdk.pruning.ranking import Ranking
from edgesdk.pruning.surgery import pruned_copy
from edgesdk.pruning.widths_cost import WidthsCost

__all__ = ["LatencyOfWidths", "narrowed_to_goal", "select_by_latency"]

#: Steps towards a latency, each a conversion and a measurement.
_STEPS = 6
#: How much faster than asked is near enough, as a share of the full network's latency.
_TOLERANCE = 0.02
#: A little less than in proportion, because a part of the time does not shrink.
_MARGIN = 0.95


class LatencyOfWidths:
    """Measured latency of widths, as a share of the full network's.

    A context manager, as the :class:`~edgesdk.pruning.latency_meter.LatencyMeter` in it.

    Args:
        work: The full network.
        inputs: Example inputs.
        channels: Found in it.
        ranking: Which channels stay at given widths; matters little to the time.
        goal: Target, device and share.
        threads: Of the runtime.
        cache: Where conversions are kept.
        say: Told what is measured.
    """

    def __init__(
        self,
        work: nn.Module,
        inputs: Any,
        channels: Channels,
        ranking: Ranking,
        goal: LatencyGoal,
        *,
        threads: int = 1,
        cache: Cache | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._work, self._channels, self._ranking = work, channels, ranking
        self.goal, self._say = goal, say
        self._meter = LatencyMeter(
            inputs, [goal.target], device=goal.device, threads=threads, cache=cache
        )
        self._known: dict[tuple[int, ...], tuple[float, float]] = {}

    def __enter__(self) -> Self:
        self._meter.__enter__()
        self._say(f"converting the full network to {self.goal.target}")
        self._meter.add("full", self._work)
        return self

    def __exit__(self, *problem: object) -> None:
        self._meter.__exit__(*problem)

    def __call__(self, counts: Mapping[str, int]) -> tuple[float, float]:
        """Medians in seconds of the full network and of one with these widths."""
        key = tuple(counts.values())
        if key not in self._known:
            name = f"small {len(self._known)}"
            kept = keep_best(self._ranking, self._channels, counts)
            self._meter.add(name, pruned_copy(self._work, self._channels.drops(kept)))
            times = self._meter.measure(["full", name])
            pair = (times["full", self.goal.target], times[name, self.goal.target])
            self._say(
                f"{1000 * pair[0]:.2f} ms became {1000 * pair[1]:.2f} ms on {self.goal.target}"
            )
            self._known[key] = pair
        return self._known[key]

    def penalty(self, counts: Mapping[str, int]) -> float:
        """By how much widths exceed the goal, as a share of it."""
        full, small = self(counts)
        return max(0.0, small / full / self.goal.share - 1)

    def require(self, counts: Mapping[str, int]) -> tuple[float, float]:
        """The medians of widths that meet the goal.

        Raises:
            BudgetError: They do not.
        """
        full, small = self(counts)
        if small / full > self.goal.share:
            raise self.unmet(small / full)
        return full, small

    def unmet(self, nearest: float) -> BudgetError:
        """What is said where nothing meets the goal."""
        goal = self.goal
        return BudgetError(
            f"no network of at most {100 * goal.share:.4g} % of the latency was found on "
            f"{goal.target} at {goal.device}; the nearest has {100 * nearest:.0f} %",
            remedy="ask for less, protect fewer layers, or look at edgesdk profile for what takes "
            "the time",
        )


def narrowed_to_goal(
    measured: LatencyOfWidths,
    counts: Mapping[str, int],
    channels: Channels,
    cost: WidthsCost,
    rule: WidthRule,
) -> dict[str, int]:
    """Widths that meet the latency, narrowed in proportion where these do not yet.

    Args:
        measured: Within its context.
        counts: Widths a search has found.
        channels: The groups.
        cost: What widths cost.
        rule: Which widths are allowed.

    Raises:
        BudgetError: A few steps do not get there; says the nearest.
    """
    found = dict(counts)
    nearest = 1.0
    for _ in range(_STEPS):
        full, small = measured(found)
        nearest = min(nearest, small / full)
        if small / full <= measured.goal.share:
            return found
        share = cost(found).macs / cost.full.macs * measured.goal.share / (small / full)
        found = fit_widths(found, channels, cost, Budget(macs=share * _MARGIN), rule)
    raise measured.unmet(nearest)


def select_by_latency(
    measured: LatencyOfWidths,
    ranked: ChannelRanking,
    channels: Channels,
    cost: WidthsCost,
    rule: WidthRule,
) -> tuple[Selection, tuple[float, float]]:
    """Halve towards the count of multiplications whose network has the latency.

    Args:
        measured: Within its context.
        ranked: Which channels go first.
        channels: The groups.
        cost: What widths cost.
        rule: Which widths are allowed.

    Returns:
        The channels that stay, and the medians of the full and of the small network in seconds.

    Raises:
        BudgetError: Nothing that was tried is fast enough; says the nearest.
    """
    goal = measured.goal
    low, high, share = 0.0, 1.0, goal.share
    best: tuple[float, Selection, tuple[float, float]] | None = None
    fastest = 1.0
    for _ in range(_STEPS):
        try:
            budget = Budget(macs=share)
            selection = select_channels(ranked, channels, cost, budget=budget, rule=rule)
        except BudgetError:
            low, share = share, (share + high) / 2
            continue
        pair = measured({name: len(kept) for name, kept in selection.kept.items()})
        ratio = pair[1] / pair[0]
        fastest = min(fastest, ratio)
        if ratio <= goal.share and (best is None or ratio > best[0]):
            best = (ratio, selection, pair)
        if goal.share - _TOLERANCE <= ratio <= goal.share:
            break
        low, high = (low, share) if ratio > goal.share else (share, high)
        share = (low + high) / 2
    if best is None:
        raise measured.unmet(fastest)
    return best[1], best[2]
