"""The training loop of every task: one process or many, on any device, resumed at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import DivergedError, TrainingError, UsageError
from edgesdk.frontend.side_effects import generators_kept
from edgesdk.training.checkpoints import RunState, read_checkpoint, write_checkpoint
from edgesdk.training.ema import AveragedWeights
from edgesdk.training.history import Position, RunHistory
from edgesdk.training.logs import TrainingLogs
from edgesdk.training.optimization import set_learning_rate
from edgesdk.training.settings import Settings

__all__ = ["RunOptions", "Task", "fit_task"]

_STEADY = (
    "lower learning_rate, lengthen the warm-up or set clip_gradient, and check that the images are "
    "finite; the checkpoint, if there is one, is from before"
)
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Everything about a run that leaves its result as it is.

    Attributes:
        checkpoint: Folder of the checkpoint, shared by all hosts; None for none.
        checkpoint_every_steps: Steps between checkpoints within a record's steps; 0 for none.
        checkpoint_every_seconds: Seconds between checkpoints.
        resume: True to resume from the checkpoint, if there is one; False to overwrite it.
        on_progress: Called in the main process with the progress of the run.
        preview: Called in the main process with the step; writes a picture and returns its path.
        preview_every_steps: Steps between previews; 0 for one at the end.
        logs: Folder for TensorBoard.
        stop: Called after every step; True ends the call with a checkpoint.
        stop_after_steps: Number of steps after which this call ends with a checkpoint.
        stop_at_step: Step of the run at which this call ends with a checkpoint.

    Raises:
        UsageError: ``stop_after_steps`` is below 1.
    """

    checkpoint: Path | None = None
    checkpoint_every_steps: int = 0
    checkpoint_every_seconds: float = 300.0
    resume: bool = True
    on_progress: Callable[[Any], None] | None = None
    preview: Callable[[int], Path] | None = None
    preview_every_steps: int = 0
    logs: Path | None = None
    stop: Callable[[], bool] | None = None
    stop_after_steps: int | None = None
    stop_at_step: int | None = None

    def __post_init__(self) -> None:
        if self.stop_after_steps is not None and self.stop_after_steps < 1:
            raise UsageError("stop_after_steps is below 1", remedy="give a positive number")


class Task:
    """A model, its optimizer and the step that trains it.

    Batches, losses and rates must be functions of the seed and the step: then a resumed run ends
    with the same bits. Whatever else a task changes as it goes on belongs into ``state.task``.

    Args:
        model: Trained in place; moved to the accelerator's device.
        optimizer: Optimizer of its parameters.
        recipe: Settings, with ``clip_gradient`` and perhaps ``precision`` and ``ema_decay``.
        accelerator: An ``accelerate.Accelerator`` without mixed precision, or its equal.
        history: Empty history.
        steps: Steps of the whole run.
        data: JSON values that identify the data; checkpoints of other data are refused.

    Attributes:
        measures: Names of the sums that :meth:`losses` returns.
        record_every: Steps between records; the last step has one too.
        checkpoint_at_records: True to write a checkpoint after every record.
        check_every: Steps between checks of the losses, which wait for the device. At 1 a loss is
            checked before anything is learnt from it.
        timed: False to keep the clock out of records, so that equal runs write equal files.

    Raises:
        TrainingError: The device or the accelerator does not suit the precision.
    """

    recipe: Any
    measures: tuple[str, ...]
    record_every: int = 50
    checkpoint_at_records: bool = False
    check_every: int = 1
    timed: bool = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Settings,
        accelerator: Any,
        history: RunHistory,
        steps: int,
        data: dict[str, Any],
    ) -> None:
        self.recipe, self.accelerator, self.steps, self.data = recipe, accelerator, steps, data
        self.device: torch.device = accelerator.device
        self.precision = getattr(recipe, "precision", "fp32")
        if accelerator.mixed_precision != "no":
            raise TrainingError(
                f"the accelerator works in {accelerator.mixed_precision}",
                remedy="leave it without mixed precision and set the recipe's precision",
            )
        if self.precision == "fp16" and self.device.type == "cpu":
            raise TrainingError(
                "fp16 cannot be trained on a CPU", remedy="set precision=bf16 or precision=fp32"
            )
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        # Moves the parameters themselves, so that the optimizer still holds them.
        self.wrapped = accelerator.prepare_model(model)
        decay = getattr(recipe, "ema_decay", 0)
        average = AveragedWeights(model, decay) if decay else None
        self.state = RunState(model, optimizer, scaler, average, history)

    def batches(self, step: int) -> Iterator[Any]:
        """Yield this process's batches from a step on, in order."""
        raise NotImplementedError

    def losses(self, batch: Any, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss of a step, and this process's sums ``[measures + 1]`` over its samples.

        The last of the sums is the number of samples. Called once a step, in every process.
        """
        raise NotImplementedError

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        raise NotImplementedError

    def record(self, position: Position) -> Any:
        """Return the record of the steps since the previous one; called in every process."""
        raise NotImplementedError

    def progress(self, position: Position, pace: float, record: Any, preview: Path | None) -> Any:
        """Return the value for ``on_progress``, after ``pace`` seconds a step in this call."""
        raise NotImplementedError

    def logged(self, position: Position, record: Any) -> Mapping[str, float]:
        """Return the values to log after a step; ``record`` is None between records."""
        raise NotImplementedError

    def step_context(self) -> AbstractContextManager[Any]:
        """Return a context for a step, from its batch to its last gradient."""
        return nullcontext()

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of the recipe's precision."""
        half = _HALF.get(self.precision)
        return torch.autocast(self.device.type, dtype=half, enabled=half is not None)

    def zeros(self, count: int) -> Tensor:
        """Return zeros for sums over processes."""
        # Apple's GPUs have no float64.
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.zeros(count, dtype=kind, device=self.device)

    def share_buffers(self) -> None:
        """Copy the main process's buffers and averages into all processes."""
        if self.accelerator.num_processes == 1:
            return
        averages = self.state.average.values.values() if self.state.average else ()
        for value in (*self.state.model.buffers(), *averages):
            torch.distributed.broadcast(value, 0)


def fit_task(task: Task, options: RunOptions) -> Any:
    """Train until the task's last step, or until the options end the call.

    A run that was stopped and is called again with the same arguments resumes at the exact step; on
    a CPU, with as many threads and processes, it ends with the same bits as an uninterrupted run.

    Args:
        task: Task to train; its model's modes and the global generators are restored afterwards.
        options: Checkpoint, progress, logs and the end of the call.

    Returns:
        The history from the run's first step. The model holds the averaged weights, if any.

    Raises:
        CheckpointError: The checkpoint is damaged, or has an older format.
        DivergedError: The loss is not finite; the checkpoint is from before.
        MissingBackendError: tensorboard is not installed, for ``logs``.
        StorageError: The checkpoint or the logs cannot be written.
        TrainingError: The checkpoint belongs to another run.
    """
    state, accelerator = task.state, task.accelerator
    modes = [(module, module.training) for module in state.model.modules()]
    try:
        with generators_kept():
            if options.checkpoint is not None and options.resume:
                read_checkpoint(options.checkpoint, state, task.recipe.to_dict(), task.data)
                step = torch.tensor([state.position.step], device=task.device)
                if len(set(accelerator.gather(step).tolist())) > 1:
                    raise TrainingError(
                        f"not every process finds the same checkpoint in {options.checkpoint}",
                        remedy="put the checkpoint on a disk that all hosts share",
                    )
            began = state.position.step
            state.model.train()
            folder = options.logs if accelerator.is_main_process else None
            with TrainingLogs(folder, began) as logs:
                _train(task, options, logs)
            task.share_buffers()
            if state.average is not None:
                state.average.write_into(state.model)
            # No process reads a file of the main process before it exists.
            accelerator.wait_for_everyone()
    finally:
        for module, training in modes:
            module.training = training
    done = state.position.step
    return replace(state.history, steps=done, finished=done == task.steps, resumed_at=began)


def _train(task: Task, options: RunOptions, logs: TrainingLogs) -> None:
    state, accelerator, position = task.state, task.accelerator, task.state.position
    began, started = position.step, time.monotonic()
    until = min(task.steps, options.stop_at_step or task.steps)
    if options.stop_after_steps is not None:
        until = min(until, began + options.stop_after_steps)
    batches = task.batches(began)
    pending = task.zeros(len(task.measures) + 1)
    tick = written = started
    while position.step < until:
        with task.step_context():
            pending += _step(task, next(batches)).to(pending.dtype)
        position.step = step = position.step + 1
        record_due = step % task.record_every == 0 or step == task.steps
        ending = step == until
        every = options.checkpoint_every_steps
        write = every > 0 and step % task.record_every % every == 0
        write = write or (record_due and task.checkpoint_at_records)
        if not (record_due or ending or write or step % task.check_every == 0):
            continue
        requests = task.zeros(2)
        requests[0] = time.monotonic() - written >= options.checkpoint_every_seconds
        requests[1] = options.stop is not None and options.stop()
        *sums, due, asked = accelerator.reduce(torch.cat([pending, requests]), "sum").tolist()
        pending.zero_()
        if not all(math.isfinite(value) for value in sums):
            raise DivergedError(f"the loss is not finite at step {step}", remedy=_STEADY)
        position.count(task.measures, sums, time.monotonic() - tick if task.timed else 0.0)
        ending = ending or asked > 0
        record = task.record(position) if record_due else None
        logs.values(step, task.logged(position, record))
        if record is not None:
            state.history = state.history.plus(record)
        if accelerator.is_main_process:
            every = options.preview_every_steps
            show = step == task.steps or (every and step % every == 0)
            preview = options.preview(step) if options.preview is not None and show else None
            if options.on_progress is not None:
                pace = (time.monotonic() - started) / (step - began)
                options.on_progress(task.progress(position, pace, record, preview))
        if record is not None:
            position.restart()
        if options.checkpoint is not None and (ending or write or due > 0):
            state.history = replace(state.history, steps=step)
            if accelerator.is_main_process:
                write_checkpoint(options.checkpoint, state, task.recipe.to_dict(), task.data)
            written = time.monotonic()
        if ending:
            break
        # Neither validation nor writing counts as training time.
        tick = time.monotonic()


def _step(task: Task, batch: Any) -> Tensor:
    """Take one optimizer step; return this process's sums."""
    state, step = task.state, task.state.position.step
    loss, sums = task.losses(batch, step)
    if task.check_every == 1:
        # Every process must stop, or the others would wait for it.
        bad = (~torch.isfinite(loss.detach())).float()
        if task.accelerator.reduce(bad, "sum").item() > 0:
            raise DivergedError(
                f"the loss is {loss.item()} at step {step}; nothing was learnt from it",
                remedy=_STEADY,
            )
    state.optimizer.zero_grad(set_to_none=True)
    task.accelerator.backward(state.scaler.scale(loss))
    if task.recipe.clip_gradient:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), task.recipe.clip_gradient)
    set_learning_rate(state.optimizer, task.rate(step))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average is not None:
        state.average.update(state.model, step)
    return sums
