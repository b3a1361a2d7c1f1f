"""Train stylizers by steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import UsageError
from edgesdk.training.accelerator import new_accelerator
from edgesdk.training.counter_random import key
from edgesdk.training.engine import RunOptions, Task, fit_task
from edgesdk.training.history import Position
from edgesdk.training.optimization import trainable_parameters
from edgesdk.training.schedules import rate_at
from edgesdk.training.style.batches import StyleBatch, StyleBatches
from edgesdk.training.style.history import StyleHistory, StyleProgress, StyleRecord
from edgesdk.training.style.memory import explain_out_of_memory, require_memory
from edgesdk.training.style.objective import PARTS, StyleObjective
from edgesdk.training.style.recipe import StyleRecipe

__all__ = ["StepTask", "StyleTask", "fit_style"]


def fit_style(
    model: nn.Module,
    source: StyleBatches,
    objective: StyleObjective,
    recipe: StyleRecipe,
    options: RunOptions | None = None,
    *,
    identity: Mapping[str, Any] | None = None,
    accelerator: Any = None,
) -> StyleHistory:
    """Train a stylizer in place.

    Several processes (``accelerate launch``) share the photographs of each step. A stopped run
    resumes exactly, see :func:`~edgesdk.training.engine.fit_task`.

    Args:
        model: Maps photographs ``[N, 3, H, W]`` (0..1) and conditions ``[N, ...]`` to paintings.
        source: Training batches.
        objective: Losses.
        recipe: Training settings.
        options: Checkpoint, progress, previews, logs and the end of the call.
        identity: JSON values that identify photographs, paintings and network; the checkpoint of
            another run is refused.
        accelerator: An ``accelerate.Accelerator`` without mixed precision; None for a new one.

    Returns:
        The history from the run's first step.

    Raises:
        DataError: None of the photographs can be read.
        TrainingError: Memory is too small; the message says which size fits.
        UsageError: The photographs of a step cannot be shared equally by the processes.
        EdgeSdkError: See :func:`~edgesdk.training.accelerator.new_accelerator` and
            :func:`~edgesdk.training.engine.fit_task`.
    """
    accelerator = accelerator or new_accelerator()
    processes = accelerator.num_processes
    if recipe.batch_size % processes:
        raise UsageError(
            f"{recipe.batch_size} photographs per step cannot be shared by {processes} processes",
            remedy="set batch_size to a multiple of the number of processes",
        )
    task = StyleTask(model, source, objective, recipe, accelerator, dict(identity or {}))
    require_memory(recipe, accelerator.device, processes)
    history: StyleHistory = fit_task(task, options or RunOptions())
    return history


class StepTask(Task):
    """A training that counts steps instead of epochs and averages its loss terms per picture."""

    def total(self, losses: Mapping[str, float]) -> float:
        """Return the weighted sum of loss terms."""
        raise NotImplementedError

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return rate_at(self.recipe, step)

    def record(self, position: Position) -> StyleRecord:
        """Return the means since the previous record."""
        losses, speed = position.means, position.speed if self.timed else 0.0
        rate = self.rate(position.step - 1)
        return StyleRecord(position.step, losses, self.total(losses), rate, speed)

    def progress(
        self, position: Position, pace: float, record: StyleRecord | None, preview: Path | None
    ) -> StyleProgress:
        """Return the progress since the previous record."""
        left = pace * (self.steps - position.step)
        path = None if preview is None else str(preview)
        record = record or self.record(position)
        if not self.timed:
            # The record is without the clock, the progress shows the speed of this call.
            record = replace(record, pictures_per_second=self.recipe.batch_size / pace)
        return StyleProgress(position.step, self.steps, record, left, path)

    def logged(self, position: Position, record: StyleRecord | None) -> Mapping[str, float]:
        """Return the values of a record."""
        if record is None:
            return {}
        losses = {f"loss/{name}": value for name, value in record.losses.items()}
        return {**losses, "loss/total": record.total, "learning_rate": record.learning_rate}


class StyleTask(StepTask):
    """Training of a stylizer; see :func:`fit_style` for the arguments."""

    recipe: StyleRecipe
    measures = PARTS

    def __init__(
        self,
        model: nn.Module,
        source: StyleBatches,
        objective: StyleObjective,
        recipe: StyleRecipe,
        accelerator: Any,
        data: dict[str, Any],
    ) -> None:
        optimizer = torch.optim.Adam(trainable_parameters(model), lr=recipe.learning_rate)
        super().__init__(model, optimizer, recipe, accelerator, StyleHistory(), recipe.steps, data)
        self.source, self.objective = source, objective

    def step_context(self) -> AbstractContextManager[None]:
        """Name the largest step that fits if memory runs out."""
        return explain_out_of_memory(self.recipe, self.device, self.accelerator.num_processes)

    def batches(self, step: int) -> Iterator[StyleBatch]:
        """Yield this process's photographs and styles."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        for number in range(step, self.steps):
            yield self.source.at(number, process, processes)

    def losses(self, batch: StyleBatch, step: int) -> tuple[Tensor, Tensor]:
        """Paint the photographs, and the second frames if any, and judge the paintings."""
        torch.manual_seed(key(self.recipe.seed, "step", step, self.accelerator.process_index))
        with self.autocast():
            parts = self._parts(batch)
        none = torch.zeros((), device=self.device)
        sums = [parts[name].detach().sum() if name in parts else none for name in PARTS]
        sums.append(none + len(batch.photographs))
        return self.objective.total(parts).mean(), torch.stack(sums)

    def _parts(self, batch: StyleBatch) -> dict[str, Tensor]:
        second, count = batch.second, len(batch.photographs)
        if second is None:
            painted = self.wrapped(batch.photographs, batch.conditions)
            return self.objective.parts(batch.photographs, painted, batch.goals)
        both = self.wrapped(
            torch.cat((batch.photographs, second.photographs)),
            torch.cat((batch.conditions, batch.conditions)),
        )
        painted, after = both[:count], both[count:]
        parts = self.objective.parts(batch.photographs, painted, batch.goals)
        parts["temporal"] = self.objective.temporal(painted, after, second.flow, second.visible)
        return parts

    def total(self, losses: Mapping[str, float]) -> float:
        """Return the weighted sum of loss terms."""
        return math.fsum(self.objective.weights[name] * value for name, value in losses.items())
