"""Channel pruning: what can be removed, what it costs, which channels, and the removal itself.

Nothing heavy is imported until it is used. :func:`edgesdk.prune` does all of it in one call.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesdk.pruning.budget import Budget, WidthRule, select
    from edgesdk.pruning.channels import find_channels
    from edgesdk.pruning.cost import ModelCost, count
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

_HOMES = {
    "METHODS": "methods",
    "Budget": "budget",
    "ChannelGroup": "groups",
    "Channels": "groups",
    "LeftAlone": "groups",
    "MethodSettings": "methods",
    "ModelCost": "cost",
    "SwarmSettings": "swarm",
    "WidthRule": "budget",
    "WidthsCost": "widths_cost",
    "count": "cost",
    "find_channels": "channels",
    "group_norm_ranking": "ranking",
    "l1_ranking": "ranking",
    "masked_copy": "surgery",
    "pruned_copy": "surgery",
    "random_ranking": "ranking",
    "select": "budget",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgesdk.pruning' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgesdk.pruning.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
