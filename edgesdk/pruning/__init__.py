"""Channel pruning: find removable channels, count their cost, select channels, remove them.

Nothing heavy is imported until it is used. :func:`edgesdk.prune` does everything in one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from edgesdk.profiling.cost import ModelCost, count
    from edgesdk.pruning.acp import acp_counts
    from edgesdk.pruning.budget import Budget, LatencyGoal, WidthRule, select
    from edgesdk.pruning.channels import find_channels
    from edgesdk.pruning.groups import ChannelGroup, Channels, LeftAlone
    from edgesdk.pruning.latency_budget import LatencyBudget
    from edgesdk.pruning.latency_meter import LatencyMeter, parse_latency_goal
    from edgesdk.pruning.methods import METHODS, MethodSettings
    from edgesdk.pruning.problem import PruningProblem
    from edgesdk.pruning.ranking import group_norm_ranking, l1_ranking, random_ranking
    from edgesdk.pruning.surgery import masked_copy, pruned_copy
    from edgesdk.pruning.swarm import SwarmSettings
    from edgesdk.pruning.widths_cost import WidthsCost

__all__ = [
    "METHODS",
    "Budget",
    "ChannelGroup",
    "Channels",
    "LatencyBudget",
    "LatencyGoal",
    "LatencyMeter",
    "LeftAlone",
    "MethodSettings",
    "ModelCost",
    "PruningProblem",
    "SwarmSettings",
    "WidthRule",
    "WidthsCost",
    "acp_counts",
    "count",
    "find_channels",
    "group_norm_ranking",
    "l1_ranking",
    "masked_copy",
    "parse_latency_goal",
    "pruned_copy",
    "random_ranking",
    "select",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".acp": ("acp_counts",),
        ".budget": ("Budget", "LatencyGoal", "WidthRule", "select"),
        ".channels": ("find_channels",),
        ".groups": ("ChannelGroup", "Channels", "LeftAlone"),
        ".latency_budget": ("LatencyBudget",),
        ".latency_meter": ("LatencyMeter", "parse_latency_goal"),
        ".methods": ("METHODS", "MethodSettings"),
        ".problem": ("PruningProblem",),
        ".ranking": ("group_norm_ranking", "l1_ranking", "random_ranking"),
        ".surgery": ("masked_copy", "pruned_copy"),
        ".swarm": ("SwarmSettings",),
        ".widths_cost": ("WidthsCost",),
        "edgesdk.profiling.cost": ("ModelCost", "count"),
    },
)
