"""Pruning from start to end: find channels, choose, remove, prove, train again, measure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import PruningError, UsageError
from edgesdk.host.cache import Cache
from edgesdk.models.widths import config_from_layers
from edgesdk.pruning.acp import AcpProgress
from edgesdk.pruning.budget import Budget, Selection, WidthRule
from edgesdk.pruning.channels import find_channels
from edgesdk.pruning.groups import Channels
from edgesdk.pruning.latency_budget import LatencyOfWidths, narrowed_to_goal, select_by_latency
from edgesdk.pruning.latency_meter import LatencyGoal
from edgesdk.pruning.methods import (
    ChannelRanking,
    MethodSettings,
    acp_counts,
    check_method,
    rank,
    select_channels,
)
from edgesdk.pruning.surgery import drops_to_json, masked_copy, pruned_copy, same_outputs
from edgesdk.pruning.tracing import call, outputs_of, prepared_copy
from edgesdk.pruning.ucp import reinitialise
from edgesdk.pruning.widths_cost import Cost, WidthsCost
from edgesdk.training.data.splits import DataSplits
from edgesdk.training.evaluation import Accuracy, evaluate
from edgesdk.training.history import Progress
from edgesdk.training.loop import fit
from edgesdk.training.recipes import Recipe

__all__ = ["PruneOptions", "PruneProgress", "PruneResult", "prune"]

_RETRAIN = ("auto", "finetune", "none", "scratch")


@dataclass(frozen=True)
class PruneOptions:
    """How to prune.

    Attributes:
        method: A key of :data:`edgesdk.pruning.methods.METHODS`.
        macs: Share of the multiply-accumulates that stays; None for any.
        params: Share of the parameters that stays; None for any.
        latency: Share of a measured latency that stays, in place of both.
        threshold: UCP's ``1 + lambda``, where no budget is given.
        round_to: Widths are multiples of it.
        protect: Module paths whose channels stay.
        retrain: ``scratch`` (new weights, UCP's way), ``finetune`` (from what is left; UCP's gates
            are folded into its layers), ``none``; ``auto`` is
            ``scratch`` for ucp and ``finetune`` for the others, ``none`` without data.
        recipe: How the small network is trained.
        settings: Of the method.
        threads: Of the runtime where latency is measured.
    """

    method: str = "l1"
    macs: float | None = None
    params: float | None = None
    latency: LatencyGoal | None = None
    threshold: float | None = None
    round_to: int = 1
    protect: tuple[str, ...] = ()
    retrain: str = "auto"
    recipe: Recipe | None = None
    settings: MethodSettings = field(default_factory=MethodSettings)
    threads: int = 1

    def __post_init__(self) -> None:
        check_method(self.method)
        if self.retrain not in _RETRAIN:
            raise UsageError(
                f"retrain is {self.retrain!r}", remedy=f"give one of {', '.join(_RETRAIN)}"
            )
        if self.round_to < 1:
            raise UsageError(f"round_to is {self.round_to}", remedy="give 1 or more")
        if self.latency is not None and (self.macs is not None or self.params is not None):
            raise UsageError(
                "a latency and a count of FLOPs or parameters at once",
                remedy="give one of them; each decides how much is removed",
            )


@dataclass(frozen=True)
class PruneProgress:
    """Who hears how far it is.

    Attributes:
        step: Told what begins.
        training: Called as a training goes on.
        search: Called as a search goes on.
    """

    step: Callable[[str], None] = lambda text: None
    training: Callable[[Progress], None] | None = None
    search: Callable[[AcpProgress], None] | None = None


@dataclass(frozen=True)
class PruneResult:
    """A pruned network and what is known of it.

    Attributes:
        model: The small network, in evaluation mode.
        architecture: Zoo name it can be built again by; None where its layers say no
            configuration.
        channels: What could be pruned and what could not.
        selection: Channels that stayed.
        before: Cost of the full network.
        after: Cost of the small one, counted on itself.
        retrained: ``scratch``, ``finetune`` or ``none``.
        accuracy_before: Of the full network on the test images, where there are any.
        accuracy_after: Of the small one.
        latency: Medians in seconds of the full and the small network, where one was asked for.
        told: What the method found.
        method: Its name.
    """

    model: nn.Module
    architecture: str | None
    channels: Channels
    selection: Selection
    before: Cost
    after: Cost
    retrained: str
    accuracy_before: Accuracy | None
    accuracy_after: Accuracy | None
    latency: tuple[float, float] | None
    told: dict[str, Any]
    method: str

    def rows(self) -> list[dict[str, Any]]:
        """One row a group: its layers, its width before and after."""
        return [
            {
                "name": group.name,
                "layers": [member.layer for member in group.producers],
                "width": group.width,
                "kept": len(self.selection.kept[group.name]),
            }
            for group in self.channels.groups
        ]

    def record(self) -> dict[str, Any]:
        """Everything but the weights, as JSON; kept with the saved model."""
        return {
            "method": self.method,
            "groups": self.rows(),
            "left_alone": [vars(entry) for entry in self.channels.left_alone],
            "notes": list(self.channels.notes),
            "before": vars(self.before),
            "after": vars(self.after),
            "retrained": self.retrained,
            "top1_before": self.accuracy_before and self.accuracy_before.top1,
            "top1_after": self.accuracy_after and self.accuracy_after.top1,
            "latency_s": self.latency,
            "found": self.told,
            "removed": drops_to_json(self.channels.drops(self.selection.kept)),
        }


def prune(
    model: nn.Module,
    inputs: Any,
    options: PruneOptions,
    *,
    data: DataSplits | None = None,
    architecture: str | None = None,
    source: str | None = None,
    progress: PruneProgress | None = None,
    cache: Cache | None = None,
) -> PruneResult:
    """Make a network smaller.

    The small network is proven: it computes, within 1e-5 of the output's magnitude, what the full
    one computes when nothing listens to the removed channels. Only then is it trained again.

    Args:
        model: Trained; left as it is.
        inputs: Example inputs.
        options: How.
        data: Labelled images; ``ucp``, ``acp`` and training again need them.
        architecture: Zoo name of the model, if it is of the zoo.
        source: SOURCE of the model, so that other processes can build it.
        progress: Who hears how far it is.
        cache: Where conversions for a latency are kept.

    Raises:
        PruningError: The model cannot be pruned, or the proof fails.
        BudgetError: No choice of channels meets the budget; says the nearest.
        UsageError: Options that do not go together.
        EdgeSdkError: See :func:`edgesdk.training.fit` and
            :class:`edgesdk.pruning.latency_meter.LatencyMeter`.
    """
    told = progress or PruneProgress()
    retrain = _retrain(options, data)
    told.step("following channels")
    work, hook_notes = prepared_copy(model)
    channels = find_channels(work, inputs, protect=options.protect, seed=options.settings.seed)
    channels = replace(channels, notes=(*hook_notes, *channels.notes))
    cost = WidthsCost(work, inputs, channels)
    told.step(f"ranking {sum(g.width for g in channels.groups)} channels by {options.method}")
    ranked = rank(
        options.method,
        work,
        channels,
        options.settings,
        data=data,
        recipe=options.recipe,
        progress=told.training,
    )
    selection, ranked, latency = _selected(
        work, inputs, channels, ranked, cost, options, data, source, told, cache
    )
    told.step("removing channels")
    lean = _removed(ranked.start or work, inputs, channels, selection)
    accuracy_before = _accuracy(work, data)
    if retrain == "scratch":
        reinitialise(lean, options.settings.seed)
    if retrain != "none" and data is not None and options.recipe is not None:
        told.step("training the small network")
        fit(
            lean,
            data.train,
            options.recipe,
            validation=data.validation,
            mean=data.mean,
            std=data.std,
            checkpoint=options.settings.work and options.settings.work / "retrain",
            progress=told.training,
        )
    lean.eval()
    rebuilt, architecture = _rebuilt(lean, architecture)
    after = WidthsCost(rebuilt, inputs, Channels((), ())).full
    return PruneResult(
        rebuilt,
        architecture,
        channels,
        selection,
        cost.full,
        after,
        retrain,
        accuracy_before,
        _accuracy(rebuilt, data),
        latency,
        ranked.told,
        options.method,
    )


def _selected(
    work: nn.Module,
    inputs: Any,
    channels: Channels,
    ranked: ChannelRanking,
    cost: WidthsCost,
    options: PruneOptions,
    data: DataSplits | None,
    source: str | None,
    told: PruneProgress,
    cache: Cache | None,
) -> tuple[Selection, ChannelRanking, tuple[float, float] | None]:
    """The channels that stay, what the method found, and the latencies if they were measured."""
    rule = WidthRule(options.round_to)
    budget = _budget(options.macs, options.params)
    goal = options.latency
    with contextlib.ExitStack() as stack:
        measured = None
        if goal is not None:
            measured = stack.enter_context(
                LatencyOfWidths(
                    work,
                    inputs,
                    channels,
                    ranked.ranking,
                    goal,
                    threads=options.threads,
                    cache=cache,
                    say=told.step,
                )
            )
        if options.method == "acp":
            if data is None:
                raise UsageError(
                    "acp measures candidates", remedy="give labelled images with --data"
                )
            told.step("searching widths")
            ranked = acp_counts(
                work,
                channels,
                ranked.ranking,
                cost,
                data,
                options.settings,
                budget=Budget(macs=goal.share) if goal is not None else budget,
                rule=rule,
                penalty=None if measured is None else measured.penalty,
                source=source,
                progress=told.search,
            )
        elif measured is not None:
            selection, latency = select_by_latency(measured, ranked, channels, cost, rule)
            return selection, ranked, latency
        if measured is not None:
            met = narrowed_to_goal(measured, ranked.counts or {}, channels, cost, rule)
            ranked = replace(ranked, counts=met)
        selection = select_channels(
            ranked, channels, cost, budget=budget, threshold=options.threshold, rule=rule
        )
        counts = {name: len(kept) for name, kept in selection.kept.items()}
        return selection, ranked, None if measured is None else measured.require(counts)


def _retrain(options: PruneOptions, data: DataSplits | None) -> str:
    if options.retrain == "none" or (options.retrain == "auto" and data is None):
        return "none"
    if data is None or options.recipe is None:
        raise UsageError(
            "training again needs labelled images and a recipe",
            remedy="give --data, or --retrain none",
        )
    if options.retrain == "auto":
        return "scratch" if options.method == "ucp" else "finetune"
    return options.retrain


def _budget(macs: float | None, params: float | None) -> Budget | None:
    return None if macs is None and params is None else Budget(macs, params)


def _accuracy(model: nn.Module, data: DataSplits | None) -> Accuracy | None:
    images = data and (data.test or data.validation)
    if not data or not images:
        return None
    return evaluate(model, images, mean=data.mean, std=data.std)


def _removed(work: nn.Module, inputs: Any, channels: Channels, selection: Selection) -> nn.Module:
    """The small network, proven equal to the full one with silent channels."""
    drops = channels.drops(selection.kept)
    lean = pruned_copy(work, drops)
    with torch.no_grad():
        expected = outputs_of(call(masked_copy(work, drops), inputs))
        found = outputs_of(call(lean, inputs))
        scale = outputs_of(call(work, inputs))
    if not same_outputs(expected, found, scale):
        raise PruningError(
            "the small network does not compute what the full one does without these channels",
            remedy="protect the layers that differ with --protect, and tell us of this model",
        )
    return lean


def _rebuilt(lean: nn.Module, architecture: str | None) -> tuple[nn.Module, str | None]:
    """The same network built from a configuration of its widths, where its class has one."""
    config = config_from_layers(lean) if architecture is not None else None
    if config is None or architecture is None:
        return lean, None
    built = models.create(architecture, **config)
    try:
        built.load_state_dict(lean.state_dict())
    except RuntimeError:
        # Widths that the class cannot be configured with; the captured program will do.
        return lean, None
    return built.eval(), architecture
