"""Budgets, and the number of channels that each group keeps to meet one."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from edgesdk.errors import BudgetError, UsageError
from edgesdk.pruning.groups import ChannelGroup, Channels
from edgesdk.pruning.ranking import Ranking
from edgesdk.pruning.widths_cost import Cost, WidthsCost

__all__ = [
    "Budget",
    "LatencyGoal",
    "Selection",
    "WidthRule",
    "above_threshold",
    "fit_widths",
    "keep_best",
    "parse_share",
    "select",
]

#: Largest distance from a budget, as a share of the full network.
TOLERANCE = 0.01

_HALVINGS = 50
_STEEPEST = 4.0
_MAX_STEPS = 400
_FEW_CHOICES = 50_000


@dataclass(frozen=True)
class Budget:
    """Share of the full network that may stay.

    Attributes:
        macs: Share of the multiply-accumulates that may stay, 0 to 1; None for no limit.
        params: Share of the parameters that may stay, 0 to 1; None for no limit.
    """

    macs: float | None = None
    params: float | None = None

    def __post_init__(self) -> None:
        for name, share in (("macs", self.macs), ("params", self.params)):
            if share is not None and not 0 < share <= 1:
                raise UsageError(
                    f"a budget of {share:.4g} of the {name} is out of range",
                    remedy="give -1% to -99%",
                )
        if self.macs is None and self.params is None:
            raise UsageError("the budget is empty", remedy="give --flops or --params")

    def _limits(self, reached: Cost, full: Cost) -> list[tuple[float, int, int]]:
        """Return for each limit the share that may stay, the cost reached and the full cost."""
        limits = [(self.macs, reached.macs, full.macs), (self.params, reached.params, full.params)]
        return [(share, part, whole) for share, part, whole in limits if share is not None]

    def excess(self, reached: Cost, full: Cost) -> list[float]:
        """Return how far each limit is exceeded, as a share of the full network."""
        return [part / whole - share for share, part, whole in self._limits(reached, full)]

    def relative_excess(self, reached: Cost, full: Cost) -> float:
        """Return how far the limits are exceeded at most, as a share of the limit; 0 if met."""
        limits = self._limits(reached, full)
        return max(0.0, *(part / (whole * share) - 1 for share, part, whole in limits))

    def miss(self, reached: Cost, full: Cost) -> float:
        """Return the larger of the two distances to the budget, as a share of the full network."""
        return max(map(abs, self.excess(reached, full)))


@dataclass(frozen=True)
class LatencyGoal:
    """Share of a model's measured latency that may stay.

    Attributes:
        target: Target with variant, such as ``executorch:xnnpack``.
        device: Identifier of a device.
        share: Share of the full model's median latency that may stay, 0 to 1.
    """

    target: str
    device: str
    share: float


@dataclass(frozen=True)
class WidthRule:
    """Widths that a group may have.

    Attributes:
        round_to: Widths are multiples of it if the full width is at least twice it; 8 suits SIMD.
        smallest: Smallest number of channels of a group.
    """

    round_to: int = 1
    smallest: int = 1

    def step(self, group: ChannelGroup) -> int:
        """Return the difference between two neighbouring widths of a group."""
        rounding = self.round_to if group.width >= 2 * self.round_to else 1
        return math.lcm(rounding, group.blocks)

    def nearest(self, group: ChannelGroup, count: float) -> int:
        """Return the allowed width nearest to ``count``; the full width is always allowed."""
        step = self.step(group)
        lowest = -(-max(self.smallest, 1) // step) * step
        if count >= group.width - step / 2 or lowest >= group.width:
            return group.width
        return max(lowest, min(group.width, int(count / step + 0.5) * step))

    def fewer(self, group: ChannelGroup, count: int) -> int:
        """Return the next smaller allowed width, or ``count`` itself if there is none."""
        step = self.step(group)
        return self.nearest(group, (-(-count // step) - 1) * step)

    def more(self, group: ChannelGroup, count: int) -> int:
        """Return the next larger allowed width, or ``count`` itself if there is none."""
        step = self.step(group)
        return self.nearest(group, min(group.width, (count // step + 1) * step))


@dataclass(frozen=True)
class Selection:
    """Channels that stay.

    Attributes:
        kept: Group name -> channels that stay, ascending.
        cost: Cost of the network with these channels.
        full: Cost of the network with all channels.
        threshold: Priority that a channel had to exceed; None if widths were given.
    """

    kept: Mapping[str, tuple[int, ...]]
    cost: Cost
    full: Cost
    threshold: float | None = None


def parse_share(text: str, option: str) -> float:
    """Return the share that stays, from ``-50%`` or ``50%`` (half is removed) or ``0.5x``.

    Args:
        text: The share as the user wrote it.
        option: Option to name in the error.

    Raises:
        UsageError: The text has another form.
    """
    share = math.nan
    if removed := re.fullmatch(r"[-−]?\s*(\d+(?:\.\d+)?)\s*%", text.strip()):
        share = 1 - float(removed.group(1)) / 100
    elif kept := re.fullmatch(r"(\d*\.?\d+)\s*x", text.strip()):
        share = float(kept.group(1))
    if not 0 < share < 1:
        raise UsageError(
            f"{option} is {text!r}",
            remedy=f"give the share to remove, {option} -50%, or the share to keep, 0.5x",
        )
    return share


def above_threshold(ranking: Ranking, channels: Channels, threshold: float) -> dict[str, int]:
    """Count the channels of each group with a priority above ``threshold``; at least one.

    With priorities as multiples of the mean and ``threshold = 1 + lambda`` this is UCP's rule
    (arXiv 2010.01251); a layer that lies wholly below keeps its best channel.
    """
    return {
        group.name: max(1, int((ranking[group.name] > threshold).sum()))
        for group in channels.groups
    }


def keep_best(
    ranking: Ranking, channels: Channels, counts: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Return the channels of highest priority, the first of equal ones; as many of each block."""
    kept = {}
    for group in channels.groups:
        length = group.width // group.blocks
        share = counts[group.name] // group.blocks
        best: list[int] = []
        for block in range(group.blocks):
            values = ranking[group.name][block * length : (block + 1) * length]
            order = torch.argsort(values, descending=True, stable=True)[:share]
            best += [block * length + int(channel) for channel in order]
        kept[group.name] = tuple(sorted(best))
    return kept


def select(
    ranking: Ranking,
    channels: Channels,
    cost: WidthsCost,
    budget: Budget,
    rule: WidthRule | None = None,
) -> Selection:
    """Find the threshold at which the channels above it meet the budget.

    The height of the threshold meets one budget. Two budgets also need a tilt: towards layers with
    many parameters, or towards layers with many multiplications.

    Example:
        >>> cost = WidthsCost(model, inputs, channels)
        >>> select(l1_ranking(model, channels), channels, cost, Budget(macs=0.5)).kept

    Args:
        ranking: Priorities of all channels.
        channels: Channel groups.
        cost: Cost of any widths.
        budget: Share that may stay.
        rule: Widths that a group may have.

    Raises:
        BudgetError: No allowed widths come within 1 % of the budget; the message has the nearest.
    """
    rule = rule or WidthRule()
    depth = cost.depth()

    def counts(threshold: float, tilt: float) -> dict[str, int]:
        heights = {name: threshold * math.exp(tilt * value) for name, value in depth.items()}
        above = {name: int((ranking[name] > height).sum()) for name, height in heights.items()}
        return {group.name: rule.nearest(group, above[group.name]) for group in channels.groups}

    lowest = cost({group.name: rule.nearest(group, 1) for group in channels.groups})
    if max(budget.excess(lowest, cost.full)) > TOLERANCE:
        raise _unreachable(budget, lowest, cost.full)
    highest = max(float(values.max()) for values in ranking.values()) * math.exp(
        _STEEPEST * max(abs(value) for value in depth.values())
    )

    def counts_in_budget(tilt: float) -> tuple[float, dict[str, int]]:
        low, high = 0.0, highest
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if budget.excess(cost(counts(middle, tilt)), cost.full)[0] > 0:
                low = middle
            else:
                high = middle
        return high, counts(high, tilt)

    tilt = 0.0
    if budget.macs is not None and budget.params is not None:
        low, high = -_STEEPEST, _STEEPEST
        for _ in range(_HALVINGS // 2):
            tilt = (low + high) / 2
            reached = cost(counts_in_budget(tilt)[1])
            if reached.params / cost.full.params > budget.params:
                low = tilt
            else:
                high = tilt
    threshold, found = counts_in_budget(tilt)
    found = fit_widths(found, channels, cost, budget, rule)
    return Selection(keep_best(ranking, channels, found), cost(found), cost.full, threshold)


def fit_widths(
    counts: Mapping[str, int],
    channels: Channels,
    cost: WidthsCost,
    budget: Budget,
    rule: WidthRule | None = None,
) -> dict[str, int]:
    """Move widths by single steps until they meet the budget as closely as steps allow.

    Args:
        counts: Widths to begin with; changed as little as needed.
        channels: Channel groups.
        cost: Cost of any widths.
        budget: Share that may stay.
        rule: Widths that a group may have.

    Raises:
        BudgetError: The best widths miss the budget by more than 1 % of the full network.
    """
    rule = rule or WidthRule()
    best = {g.name: rule.nearest(g, counts[g.name]) for g in channels.groups}
    miss = budget.miss(cost(best), cost.full)
    for _ in range(_MAX_STEPS):
        if miss < TOLERANCE / 20:
            break
        steps = _steps(best, channels, rule)
        found = _best_of(steps, best, counts, cost, budget)
        if (found is None or found[0] >= miss) and miss > TOLERANCE:
            # If one step is too much, one down and one up may fit.
            pairs = ({**one, **other} for one, other in itertools.combinations(steps, 2))
            found = _best_of(pairs, best, counts, cost, budget)
        if found is None or found[0] >= miss:
            break
        miss, best = found[0], {**best, **found[1]}
    if miss > TOLERANCE:
        found = _best_of(_all_widths(channels, rule), best, counts, cost, budget)
        if found is not None and found[0] < miss:
            miss, best = found[0], {**best, **found[1]}
    if miss > TOLERANCE:
        raise _unreachable(budget, cost(best), cost.full)
    return best


def _all_widths(channels: Channels, rule: WidthRule) -> Iterator[dict[str, int]]:
    """Yield every choice of widths if the network has few; else nothing."""
    allowed = []
    for group in channels.groups:
        widths = {rule.nearest(group, count) for count in range(1, group.width + 1)}
        allowed.append([(group.name, width) for width in sorted(widths)])
    if math.prod(len(widths) for widths in allowed) <= _FEW_CHOICES:
        for choice in itertools.product(*allowed):
            yield dict(choice)


def _steps(best: Mapping[str, int], channels: Channels, rule: WidthRule) -> list[dict[str, int]]:
    """Return every single step from ``best`` as the width it changes."""
    return [
        {group.name: count}
        for group in channels.groups
        for count in {rule.fewer(group, best[group.name]), rule.more(group, best[group.name])}
        if count != best[group.name]
    ]


def _best_of(
    changes: Iterable[Mapping[str, int]],
    best: Mapping[str, int],
    wanted: Mapping[str, int],
    cost: WidthsCost,
    budget: Budget,
) -> tuple[float, Mapping[str, int]] | None:
    """Return the change that misses the budget least; of equal ones, the smallest change."""
    found: tuple[tuple[float, float, list[tuple[str, int]]], Mapping[str, int]] | None = None
    for change in changes:
        miss = budget.miss(cost({**best, **change}), cost.full)
        moved = sum(abs(count - wanted[name]) / wanted[name] for name, count in change.items())
        key = (miss, moved, sorted(change.items()))
        if found is None or key < found[0]:
            found = (key, change)
    return None if found is None else (found[0][0], found[1])


def _unreachable(budget: Budget, nearest: Cost, full: Cost) -> BudgetError:
    asked = " and ".join(
        f"{100 * (share - 1):.2f} % {name}"
        for name, share in (("FLOPs", budget.macs), ("parameters", budget.params))
        if share is not None
    )
    return BudgetError(
        f"no choice of channels gives {asked}; the nearest is "
        f"{100 * (nearest.macs / full.macs - 1):.2f} % FLOPs and "
        f"{100 * (nearest.params / full.params - 1):.2f} % parameters",
        remedy="ask for a smaller cut, protect fewer layers, or use a smaller --round-to",
    )
