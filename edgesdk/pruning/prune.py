"""Prune a model: find channels, select, remove, prove, train again, measure, save."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import PruningError, UsageError
from edgesdk.frontend.edgemodel.file import save_model
from edgesdk.host.cache import Cache
from edgesdk.host.progress import AUTO, Auto, progress_shown
from edgesdk.models.widths import config_from_layers
from edgesdk.pruning.budget import Budget, Selection, WidthRule
from edgesdk.pruning.groups import Channels
from edgesdk.pruning.methods import ChannelRanking, rank, select_channels
from edgesdk.pruning.options import PruneOptions, PruneProgress
from edgesdk.pruning.output import check_output
from edgesdk.pruning.problem import PruningProblem
from edgesdk.pruning.source import PrunableModel, load_for_pruning, prunable_model
from edgesdk.pruning.surgery import drops_to_json, masked_copy, pruned_copy, same_outputs
from edgesdk.pruning.tracing import call, outputs_of
from edgesdk.pruning.ucp import reinitialise
from edgesdk.pruning.widths_cost import Cost, WidthsCost
from edgesdk.training.data.splits import DataSplits
from edgesdk.training.evaluation import Accuracy, evaluate
from edgesdk.training.loop import fit

__all__ = ["PruneResult", "prune"]


@dataclass(frozen=True)
class PruneResult:
    """A pruned model and its figures.

    Attributes:
        model: Pruned model, in evaluation mode.
        architecture: Zoo name from which the model can be rebuilt, if it can.
        channels: Channel groups of the full model, and the layers that stay as they are.
        selection: Channels that stayed.
        before: Cost of the full model.
        after: Cost of the pruned model, counted on the model itself.
        retrained: ``scratch``, ``finetune`` or ``none``.
        accuracy_before: Accuracy of the full model on the test images, or None without images.
        accuracy_after: Accuracy of the pruned model, likewise.
        latency: Median latencies of both in seconds; None without a latency budget.
        findings: Findings of the method, as JSON.
        method: Name of the method.
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
    findings: dict[str, Any]
    method: str

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per channel group: its layers, its width before and after."""
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
        """Return everything but the weights as JSON; saved with the model."""
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
            "found": self.findings,
            "removed": drops_to_json(self.channels.drops(self.selection.kept)),
        }


@progress_shown(
    "pruning",
    lambda display: PruneProgress(display.begin, display.training, display.search),
    argument="progress",
)
def prune(
    model: nn.Module | str,
    inputs: Any = None,
    options: PruneOptions | None = None,
    *,
    data: DataSplits | None = None,
    output: str | os.PathLike[str] | None = None,
    input_specs: Sequence[str] = (),
    weights: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    architecture: str | None = None,
    source: str | None = None,
    progress: PruneProgress | Auto | None = AUTO,
    cache: Cache | None = None,
) -> PruneResult:
    """Remove channels from a model, prove the result, train it again and save it.

    The proof: within 1e-5 of the output's magnitude, the pruned model computes what the full model
    computes while the removed channels are silent. Training starts only after the proof.

    Example:
        >>> options = edgesdk.PruneOptions(macs=0.5, round_to=8)
        >>> edgesdk.prune("resnet50", options=options, output="small.edgemodel")

    Args:
        model: Trained model, left unchanged, or SOURCE of one.
        inputs: Example inputs: a tensor, a tuple or a dictionary. Optional for a SOURCE that
            knows its inputs and for a model with ``data``.
        options: Method, budget and training.
        data: Labelled images; ``ucp``, ``acp`` and any training need them.
        output: ``NAME.edgemodel`` to write; None to write nothing.
        input_specs: Inputs of a SOURCE as texts, such as ``image:1x3x224x224``.
        weights: File with weights of a SOURCE.
        overwrite: True to replace an existing ``output``.
        architecture: Zoo name of ``model``, if it is a model of the zoo.
        source: SOURCE of ``model``, from which other processes can build it.
        progress: Progress callbacks; ``auto`` and None as in :func:`edgesdk.export`.
        cache: Cache for the conversions of a latency budget.

    Raises:
        PruningError: The model cannot be pruned, or the proof fails.
        BudgetError: No choice of channels meets the budget; the message has the nearest one.
        UsageError: The options contradict each other or lack something.
        OutputExistsError: ``output`` exists and ``overwrite`` is False.
        EdgeSdkError: The SOURCE cannot be loaded, training fails (:func:`edgesdk.training.fit`),
            latency cannot be measured, or the output cannot be written.
    """
    options = options or PruneOptions()
    if output is not None:
        check_output(Path(output), overwrite=overwrite)
    if isinstance(model, str):
        file = None if weights is None else Path(weights)
        loaded = load_for_pruning(
            model, file, input_specs, data, options.settings.seed, inputs=inputs
        )
        source = model if loaded.architecture is None else None
    else:
        if weights is not None or input_specs:
            raise UsageError(
                "weights and input specs belong to a SOURCE, not to a model in memory",
                remedy="load the weights into the model, and pass example inputs",
            )
        loaded = prunable_model(model, inputs, data, architecture, options.settings.seed)
    callbacks = progress if isinstance(progress, PruneProgress) else PruneProgress()
    result = _prune(loaded, options, data, source, callbacks, cache)
    if output is not None:
        save_model(
            result.model,
            result.architecture,
            Path(output),
            example=loaded.inputs,
            signature=loaded.signature,
            pruning=result.record(),
            overwrite=overwrite,
        )
    return result


def _prune(
    loaded: PrunableModel,
    options: PruneOptions,
    data: DataSplits | None,
    source: str | None,
    progress: PruneProgress,
    cache: Cache | None,
) -> PruneResult:
    retrain = _retrain(options, data)
    progress.step("finding channels")
    problem = PruningProblem.of(
        loaded.model,
        loaded.inputs,
        budget=options.budget,
        rule=WidthRule(options.round_to),
        protect=options.protect,
        seed=options.settings.seed,
    )
    widths = sum(group.width for group in problem.channels.groups)
    progress.step(f"ranking {widths} channels by {options.method}")
    ranked = rank(
        options.method,
        problem,
        options.settings,
        data=data,
        recipe=options.recipe,
        on_progress=progress.training,
    )
    selection, ranked, latency = _selected(problem, ranked, options, data, source, progress, cache)
    progress.step("removing channels")
    pruned = _removed(replace(problem, model=ranked.start or problem.model), selection)
    accuracy_before = _accuracy(problem.model, data)
    if retrain == "scratch":
        reinitialise(pruned, options.settings.seed)
    if retrain != "none" and data is not None and options.recipe is not None:
        progress.step("training the pruned model")
        fit(
            pruned,
            data.train,
            options.recipe,
            validation=data.validation,
            mean=data.mean,
            std=data.std,
            checkpoint=options.settings.work and options.settings.work / "retrain",
            on_progress=progress.training,
        )
    pruned.eval()
    rebuilt, architecture = _rebuilt(pruned, loaded.architecture)
    after = WidthsCost(rebuilt, loaded.inputs, Channels((), ())).full
    return PruneResult(
        rebuilt,
        architecture,
        problem.channels,
        selection,
        problem.cost.full,
        after,
        retrain,
        accuracy_before,
        _accuracy(rebuilt, data),
        latency,
        ranked.findings,
        options.method,
    )


def _selected(
    problem: PruningProblem,
    ranked: ChannelRanking,
    options: PruneOptions,
    data: DataSplits | None,
    source: str | None,
    progress: PruneProgress,
    cache: Cache | None,
) -> tuple[Selection, ChannelRanking, tuple[float, float] | None]:
    """Return the channels that stay, the method's ranking, and any measured latencies."""
    goal = options.latency
    with contextlib.ExitStack() as stack:
        measured = None
        if goal is not None:
            # On first use: converters, runtimes and devices serve latency budgets alone.
            from edgesdk.pruning import LatencyBudget

            measured = stack.enter_context(
                LatencyBudget(
                    problem,
                    ranked.ranking,
                    goal,
                    threads=options.threads,
                    cache=cache,
                    on_progress=progress.step,
                )
            )
        if options.method == "acp":
            from edgesdk.pruning import acp_counts

            if data is None:
                raise UsageError(
                    "acp measures the accuracy of candidates",
                    remedy="give labelled images with --data",
                )
            progress.step("searching widths")
            ranked = acp_counts(
                problem if goal is None else replace(problem, budget=Budget(macs=goal.share)),
                ranked.ranking,
                data,
                options.settings,
                penalty=None if measured is None else measured.penalty,
                source=source,
                on_progress=progress.search,
            )
        elif measured is not None:
            selection, latency = measured.select(ranked)
            return selection, ranked, latency
        if measured is not None:
            ranked = replace(ranked, counts=measured.narrow(ranked.counts or {}))
        selection = select_channels(ranked, problem, threshold=options.threshold)
        counts = {name: len(kept) for name, kept in selection.kept.items()}
        return selection, ranked, None if measured is None else measured.require(counts)


def _retrain(options: PruneOptions, data: DataSplits | None) -> str:
    if options.retrain == "none" or (options.retrain == "auto" and data is None):
        return "none"
    if data is None or options.recipe is None:
        raise UsageError(
            "training the pruned model needs labelled images and a recipe",
            remedy="give --data, or --retrain none",
        )
    if options.retrain == "auto":
        return "scratch" if options.method == "ucp" else "finetune"
    return options.retrain


def _accuracy(model: nn.Module, data: DataSplits | None) -> Accuracy | None:
    images = data and (data.test or data.validation)
    if not data or not images:
        return None
    return evaluate(model, images, mean=data.mean, std=data.std)


def _removed(problem: PruningProblem, selection: Selection) -> nn.Module:
    """Return the pruned model after proving that it equals the full one with silent channels."""
    model, inputs = problem.model, problem.inputs
    drops = problem.channels.drops(selection.kept)
    pruned = pruned_copy(model, drops)
    with torch.no_grad():
        expected = outputs_of(call(masked_copy(model, drops), inputs))
        found = outputs_of(call(pruned, inputs))
        scale = outputs_of(call(model, inputs))
    if not same_outputs(expected, found, scale):
        raise PruningError(
            "the pruned model does not compute what the full one does without these channels",
            remedy="protect the layers that differ with --protect, and report this model to us",
        )
    return pruned


def _rebuilt(pruned: nn.Module, architecture: str | None) -> tuple[nn.Module, str | None]:
    """Rebuild the model from a zoo configuration with its widths, if there is one."""
    config = config_from_layers(pruned) if architecture is not None else None
    if config is None or architecture is None:
        return pruned, None
    built = models.create(architecture, **config)
    try:
        built.load_state_dict(pruned.state_dict())
    except RuntimeError:
        # The class has no configuration for these widths; the model is saved as a program.
        return pruned, None
    return built.eval(), architecture
