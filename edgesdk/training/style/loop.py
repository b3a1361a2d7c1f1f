"""The training loop of stylizers: one process or many, CPU or CUDA, ended and resumed anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import DivergedError, TrainingError, UsageError
from edgesdk.training.accelerator import new_accelerator
from edgesdk.training.batches import generators_kept
from edgesdk.training.counter_random import key
from edgesdk.training.logs import TrainingLogs
from edgesdk.training.optimization import set_learning_rate
from edgesdk.training.stopping import CheckpointTimer, StopRequest
from edgesdk.training.style.batches import Lessons, StyleBatch
from edgesdk.training.style.checkpoints import StyleState, read_checkpoint, write_checkpoint
from edgesdk.training.style.history import StyleHistory, StyleProgress, StyleRecord
from edgesdk.training.style.memory import memory_named, require_memory
from edgesdk.training.style.objective import PARTS, StyleObjective
from edgesdk.training.style.recipe import StyleRecipe, rate_at

__all__ = ["Watched", "fit_style"]

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: Steps between two records.
_STEPS_A_RECORD = 50


@dataclass
class Watched:
    """What is told and written while a run goes on.

    Attributes:
        checkpoint: Folder of the checkpoint; None for none.
        checkpoint_every_seconds: Time between two.
        progress: Called in the main process every few steps.
        preview: Called with the step in the main process; writes a picture and returns its path.
        preview_every_steps: 0 for never.
        logs: Folder for TensorBoard.
        stop: StopRequest after every step whether to end, with a checkpoint.
        stop_after_steps: End this call after so many.
        stop_at_step: End the call at this step of the run.
    """

    checkpoint: Path | None = None
    checkpoint_every_seconds: float = 300.0
    progress: Callable[[StyleProgress], None] | None = None
    preview: Callable[[int], Path] | None = None
    preview_every_steps: int = 0
    logs: Path | None = None
    stop: Callable[[], bool] | None = None
    stop_after_steps: int | None = None
    stop_at_step: int | None = None


def fit_style(
    model: nn.Module,
    lessons: Lessons,
    objective: StyleObjective,
    recipe: StyleRecipe,
    watched: Watched | None = None,
    *,
    identity: Mapping[str, Any] | None = None,
    resume: bool = True,
    accelerator: Any = None,
) -> StyleHistory:
    """Train a stylizer in place.

    Several processes (``accelerate launch``) share out the pictures of each step. A run that was
    ended anywhere and is called again with the same arguments goes on at the exact step; on a CPU,
    with as many threads and processes, it ends with the same bits as one that was never ended.

    Args:
        model: Maps photographs ``[N, 3, H, W]`` (0..1) and conditions ``[N, ...]`` to painted ones.
        lessons: What each step learns from.
        objective: What it is trained for.
        recipe: How to train.
        watched: What is told and written meanwhile.
        identity: What identifies photographs, paintings and network, as JSON values; a checkpoint
            of another run is refused.
        resume: Go on from the checkpoint where there is one.
        accelerator: An ``accelerate.Accelerator`` without mixed precision; None for a new one.

    Returns:
        The history from the run's first step.

    Raises:
        DataError: No photograph can be read.
        DivergedError: The loss is not finite; the checkpoint is the last good one.
        TrainingError: There is not enough memory (says which size fits), or the checkpoint is
            damaged or belongs to another run.
        MissingBackendError: accelerate, or tensorboard for ``logs``, is not installed.
        StorageError: Checkpoint or logs cannot be written.
        UsageError: More processes than pictures a step.
    """
    watched = watched or Watched()
    accelerator = accelerator or new_accelerator()
    if recipe.batch_size % accelerator.num_processes:
        raise UsageError(
            f"{recipe.batch_size} pictures a step cannot be shared out to "
            f"{accelerator.num_processes} processes",
            remedy="set batch_size to a multiple of the processes",
        )
    if recipe.precision == "fp16" and accelerator.device.type == "cpu":
        raise TrainingError(
            "fp16 cannot be trained on a CPU", remedy="set precision=bf16 or precision=fp32"
        )
    require_memory(recipe, accelerator.device, accelerator.num_processes)
    mode = model.training
    model.train()
    try:
        with generators_kept():
            run = _Run(model, lessons, objective, recipe, accelerator, dict(identity or {}))
            if watched.checkpoint is not None and resume:
                read_checkpoint(watched.checkpoint, run.state, recipe, run.identity)
            folder = watched.logs if accelerator.is_main_process else None
            with TrainingLogs(folder, run.state.step) as logs:
                return run.follow(watched, logs)
    finally:
        model.train(mode)


class _Run:
    """A model on its way through a recipe."""

    def __init__(
        self,
        model: nn.Module,
        lessons: Lessons,
        objective: StyleObjective,
        recipe: StyleRecipe,
        accelerator: Any,
        identity: dict[str, Any],
    ) -> None:
        self.identity = identity
        self.lessons, self.objective, self.recipe = lessons, objective, recipe
        self.accelerator = accelerator
        self.device: torch.device = accelerator.device
        parameters = [value for value in model.parameters() if value.requires_grad]
        if not parameters:
            raise TrainingError(f"{type(model).__name__} has no parameter to train")
        optimizer = torch.optim.Adam(parameters, lr=recipe.learning_rate)
        scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self.wrapped = accelerator.prepare_model(model)
        self.parameters = parameters
        self.state = StyleState(model, optimizer, scaler)
        self.done_here = 0
        self.started = time.monotonic()

    def follow(self, watched: Watched, logs: TrainingLogs) -> StyleHistory:
        """Train from where the run is to its end, or to where it is asked to stop."""
        state, recipe = self.state, self.recipe
        began = state.step
        asked = StopRequest(watched.stop, watched.stop_after_steps)
        due = CheckpointTimer(0, watched.checkpoint_every_seconds)
        until = min(recipe.steps, watched.stop_at_step or recipe.steps)
        while state.step < until:
            before = time.monotonic()
            with memory_named(recipe, self.device, self.accelerator.num_processes):
                losses = self._step()
            state.step += 1
            self.done_here += 1
            last = state.step == recipe.steps
            enough = state.step == until or asked.last(self.done_here)
            wishes = torch.tensor([float(due.now()), float(asked.now())], device=self.device)
            total = self.accelerator.reduce(torch.cat([losses, wishes]), "sum").tolist()
            seconds = time.monotonic() - before
            state.count(dict(zip(PARTS, total, strict=False)), recipe.batch_size, seconds)
            enough = enough or total[-1] > 0
            if state.step % _STEPS_A_RECORD == 0 or last:
                self._record(logs)
            preview = self._preview(watched, last)
            if watched.progress is not None and self.accelerator.is_main_process:
                watched.progress(self._progress(preview))
            if watched.checkpoint is not None and (enough or total[-2] > 0):
                if self.accelerator.is_main_process:
                    write_checkpoint(watched.checkpoint, state, recipe, self.identity)
                due.written()
            if enough:
                break
        self.accelerator.wait_for_everyone()
        return replace(
            state.history,
            steps=state.step,
            finished=state.step == recipe.steps,
            resumed_at=began,
        )

    def _step(self) -> Tensor:
        """Learn once; the sum of every part over this process's pictures, ``[parts]``."""
        recipe, step = self.recipe, self.state.step
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        torch.manual_seed(key(recipe.seed, "step", step, process))
        lesson = self.lessons.at(step, process, processes)
        with torch.autocast(
            self.device.type,
            dtype=_HALF.get(recipe.precision),
            enabled=recipe.precision in _HALF,
        ):
            parts = self._judged(lesson)
        loss = self.objective.total(parts).mean()
        self._require_finite(loss)
        self._descend(loss, rate_at(recipe, step))
        none = torch.zeros((), device=self.device)
        return torch.stack(
            [parts[name].detach().sum() if name in parts else none for name in PARTS]
        )

    def _judged(self, lesson: StyleBatch) -> dict[str, Tensor]:
        second, count = lesson.second, len(lesson.photographs)
        if second is None:
            painted = self.wrapped(lesson.photographs, lesson.conditions)
            return self.objective.parts(lesson.photographs, painted, lesson.goals)
        both = self.wrapped(
            torch.cat((lesson.photographs, second.photographs)),
            torch.cat((lesson.conditions, lesson.conditions)),
        )
        painted, after = both[:count], both[count:]
        parts = self.objective.parts(lesson.photographs, painted, lesson.goals)
        parts["temporal"] = self.objective.temporal(painted, after, second.flow, second.visible)
        return parts

    def _require_finite(self, loss: Tensor) -> None:
        # Every process must stop, or the others would wait for it.
        if self.accelerator.reduce((~torch.isfinite(loss)).float(), "sum").item() > 0:
            raise DivergedError(
                f"the loss is {loss.item()} at step {self.state.step}; nothing was learnt from it",
                remedy="the checkpoint, where there is one, is from before: go on from it with a "
                "lower learning_rate, or check that the pictures are sound",
            )

    def _descend(self, loss: Tensor, rate: float) -> None:
        optimizer, scaler = self.state.optimizer, self.state.scaler
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(scaler.scale(loss))
        if self.recipe.clip_gradient:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_gradient)
        set_learning_rate(optimizer, rate)
        scaler.step(optimizer)
        scaler.update()

    def _record(self, logs: TrainingLogs) -> None:
        record = self._so_far()
        state = self.state
        state.history = replace(state.history, records=(*state.history.records, record))
        logs.values(
            state.step,
            {
                **{f"loss/{name}": value for name, value in record.losses.items()},
                "loss/total": record.total,
                "learning_rate": record.learning_rate,
            },
        )
        state.begin_record()

    def _so_far(self) -> StyleRecord:
        state = self.state
        if not state.pictures:
            return state.history.records[-1]
        losses = {name: value / state.pictures for name, value in state.losses.items()}
        weights = self.objective.weights
        return StyleRecord(
            step=state.step,
            losses=losses,
            total=math.fsum(weights[name] * value for name, value in losses.items()),
            learning_rate=rate_at(self.recipe, state.step - 1),
            pictures_per_second=state.pictures / max(state.seconds, 1e-9),
        )

    def _progress(self, preview: Path | None) -> StyleProgress:
        pace = (time.monotonic() - self.started) / max(1, self.done_here)
        step, steps = self.state.step, self.recipe.steps
        told = None if preview is None else str(preview)
        return StyleProgress(step, steps, self._so_far(), pace * (steps - step), told)

    def _preview(self, watched: Watched, last: bool) -> Path | None:
        every, step = watched.preview_every_steps, self.state.step
        if watched.preview is None or not self.accelerator.is_main_process:
            return None
        return watched.preview(step) if last or (every and step % every == 0) else None
