"""The value that every pruning method works on: a model, its channels, their cost, the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from torch import nn

from edgesdk.pruning.budget import Budget, WidthRule
from edgesdk.pruning.channels import find_channels
from edgesdk.pruning.groups import Channels
from edgesdk.pruning.tracing import prepared_copy
from edgesdk.pruning.widths_cost import WidthsCost

__all__ = ["PruningProblem"]


@dataclass(frozen=True)
class PruningProblem:
    """A model, the channels it may lose, and how much of it may stay.

    The tasks of ACP's candidates are :class:`edgesdk.pruning.candidates.CandidateTask`.

    Attributes:
        model: Full, trained model; methods leave it unchanged.
        inputs: Example inputs: a tensor, a tuple of positional or a dictionary of named ones.
        channels: Channel groups of the model.
        cost: Cost of the model for any widths of these groups.
        budget: Share of the cost that may stay; None if something else decides.
        rule: Widths that a group may have.
    """

    model: nn.Module
    inputs: Any
    channels: Channels
    cost: WidthsCost
    budget: Budget | None = None
    rule: WidthRule = field(default_factory=WidthRule)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: Any,
        *,
        budget: Budget | None = None,
        rule: WidthRule | None = None,
        protect: Sequence[str] = (),
        seed: int = 0,
    ) -> Self:
        """Copy a model, find its channels and count its cost.

        Args:
            model: Trained model; left unchanged.
            inputs: Example inputs.
            budget: Share of the cost that may stay.
            rule: Widths that a group may have.
            protect: Module paths whose output channels stay.
            seed: Seed of the channels that are removed on trial.

        Raises:
            EdgeSdkError: As :func:`~edgesdk.pruning.channels.find_channels` does.
        """
        copied, hook_notes = prepared_copy(model)
        channels = find_channels(copied, inputs, protect=protect, seed=seed)
        channels = replace(channels, notes=(*hook_notes, *channels.notes))
        cost = WidthsCost(copied, inputs, channels)
        return cls(copied, inputs, channels, cost, budget, rule or WidthRule())
