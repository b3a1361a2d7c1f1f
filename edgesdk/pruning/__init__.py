"""Channel pruning: what can be removed, what it costs, which channels, and the removal itself.

Nothing heavy is imported until it is used. :func:`edgesdk.prune` does all of it in one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from edgesdk.profiling.cost import ModelCost, count
    from edgesdk.pruning.budget import Budget, WidthRule, select
    from edgesdk.pruning.channels import find_channels
    from edgesdk.pruning.groups import ChannelGroup, Channels, LeftAlone
    from edgesdk.pruning.methods import METHODS, MethodSettings
    from edgesdk.pruning.ranking import group_norm_ranking, l1_ranking, random_ranking
    from edgesdk.pruning.surgery import masked_copy, pruned_copy
    from edgesdk.pruning.swarm import SwarmSettings
    from edgesdk.pruning.widths_cost import WidthsCost

__all__ = [
    "METHODS",
    "Budget",
    "ChannelGroup",
    "Channels",
    "LeftAlone",
    "MethodSettings",
    "ModelCost",
    "SwarmSettings",
    "WidthRule",
    "WidthsCost",
    "count",
    "find_channels",
    "group_norm_ranking",
    "l1_ranking",
    "masked_copy",
    "pruned_copy",
    "random_ranking",
    "select",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".budget": ("Budget", "WidthRule", "select"),
        ".channels": ("find_channels",),
        ".groups": ("ChannelGroup", "Channels", "LeftAlone"),
        ".methods": ("METHODS", "MethodSettings"),
        ".ranking": ("group_norm_ranking", "l1_ranking", "random_ranking"),
        ".surgery": ("masked_copy", "pruned_copy"),
        ".swarm": ("SwarmSettings",),
        ".widths_cost": ("WidthsCost",),
        "edgesdk.profiling.cost": ("ModelCost", "count"),
    },
)
