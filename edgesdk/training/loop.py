"""The training loop: one process or many, on CPU or CUDA, ended and resumed at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import DivergedError, TrainingError, UsageError
from edgesdk.training.accelerator import new_accelerator
from edgesdk.training.batches import (
    Batch,
    batches_of_epoch,
    generators_kept,
    read_batches,
    share_of,
)
from edgesdk.training.channels_last import in_fastest_layout
from edgesdk.training.checkpoints import Position, Trained, read_checkpoint, write_checkpoint
from edgesdk.training.ema import AveragedWeights
from edgesdk.training.evaluation import Accuracy, accuracy_of, scores
from edgesdk.training.history import EpochRecord, History, Progress
from edgesdk.training.logs import TrainingLogs
from edgesdk.training.recipes import Recipe
from edgesdk.training.schedules import learning_rate
from edgesdk.training.stopping import CheckpointTimer, StopRequest
from edgesdk.training.train_step import TrainStep

__all__ = ["fit"]

# Reading the loss off a graphics card makes the program wait for it.
_STEPS_BETWEEN_CHECKS = 10
_STEPS_BETWEEN_LOGS = 10


def fit(
    model: nn.Module,
    train: Any,
    recipe: Recipe,
    *,
    validation: Any = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    checkpoint: Path | None = None,
    resume: bool = True,
    logs: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    accelerator: Any = None,
    stop_after_steps: int | None = None,
    stop: Callable[[], bool] | None = None,
    checkpoint_every_steps: int = 0,
    checkpoint_every_seconds: float = 300.0,
    workers: int = 0,
) -> History:
    """Train a classifier in place.

    Several processes (``accelerate launch``) share out the batches that one would have: they take
    the same steps, but for batch normalisation, which sees each process's part. A run that was
    ended anywhere and is called again with the same arguments goes on at the exact step; on a CPU,
    with as many threads and processes, it ends with the same bits as one that was never ended.

    Args:
        model: Maps images ``[N, C, H, W]`` to logits ``[N, classes]``. Moved to the accelerator's
            device; its mode is given back.
        train: :class:`~edgesdk.training.LabelledImages`, or any map-style data set of
            ``(image tensor [C, H, W], label)`` with ``uint8`` or floating images.
        recipe: How to train. Its ``batch_size`` is that of all processes together.
        validation: Measured after every epoch, likewise a data set.
        mean: One value a channel that is subtracted; ``uint8`` images become 0..1 before.
        std: One value a channel that is divided by.
        checkpoint: Folder of the checkpoint, written at the end of every epoch and in between;
            several hosts must share it.
        resume: Go on from the checkpoint where there is one; without, it is overwritten.
        logs: Folder for TensorBoard.
        progress: Called in the main process as the run goes on.
        accelerator: An ``accelerate.Accelerator`` without mixed precision; None for a new one.
        stop_after_steps: End this call, with a checkpoint, after so many steps.
        stop: StopRequest after every step whether to end this call, with a checkpoint.
        checkpoint_every_steps: Steps between checkpoints within an epoch; 0 for none.
        checkpoint_every_seconds: Likewise in seconds.
        workers: Processes that read images that are not in memory.

    Returns:
        The history from the run's first epoch. With ``ema_decay`` the model holds the averaged
        weights, which are the ones that were validated.

    Raises:
        DataError: Samples that cannot be trained on.
        TrainingError: The loss is not finite, or the checkpoint belongs to another run.
        ModelOutputError: The model gives no logits.
        MissingBackendError: accelerate, or tensorboard for ``logs``, is not installed.
        StorageError: Checkpoint or logs cannot be written.
    """
    if stop_after_steps is not None and stop_after_steps < 1:
        raise UsageError("stop_after_steps is below 1", remedy="give a positive number")
    if accelerator is None:
        accelerator = new_accelerator()
    modes = [(module, module.training) for module in model.modules()]
    try:
        with generators_kept(), in_fastest_layout(model, _image_shape(train)) as channels_last:
            run = _Run(model, train, recipe, accelerator, mean=mean, std=std, workers=workers)
            run.learner.channels_last = channels_last
            if checkpoint is not None and resume:
                run.resume(checkpoint)
            with TrainingLogs(logs if accelerator.is_main_process else None, run.steps) as written:
                return run.follow(
                    validation,
                    checkpoint,
                    written,
                    progress if accelerator.is_main_process else None,
                    StopRequest(stop, stop_after_steps),
                    CheckpointTimer(checkpoint_every_steps, checkpoint_every_seconds),
                )
    finally:
        for module, training in modes:
            module.training = training


def _image_shape(train: Any) -> tuple[int, ...]:
    """Of one image; nothing where there is none to look at."""
    return tuple(train[0][0].shape) if len(train) else ()


class _Run:
    """A model on its way through a recipe."""

    def __init__(
        self,
        model: nn.Module,
        train: Any,
        recipe: Recipe,
        accelerator: Any,
        *,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        workers: int,
    ) -> None:
        self.device: torch.device = accelerator.device
        self.train, self.recipe, self.accelerator = train, recipe, accelerator
        self.mean, self.std, self.workers = mean, std, workers
        self.per_epoch = len(self._batches(0))
        self.learner = TrainStep(model, recipe, accelerator, mean, std)
        average = AveragedWeights(model, recipe.ema_decay) if recipe.ema_decay else None
        self.state = Trained(
            model, self.learner.optimizer, average, self.learner.scaler, Position(), History()
        )
        self.done_here = 0
        self.started = time.monotonic()

    @property
    def steps(self) -> int:
        """Steps since the run's beginning."""
        return self.state.position.epoch * self.per_epoch + self.state.position.step

    def _batches(self, epoch: int) -> list[Any]:
        return batches_of_epoch(len(self.train), self.recipe.batch_size, self.recipe.seed, epoch)

    def _identity(self) -> dict[str, Any]:
        def listed(values: Sequence[float] | None) -> list[float] | None:
            return None if values is None else list(values)

        return {
            "samples": len(self.train),
            "classes": list(getattr(self.train, "classes", ())),
            "mean": listed(self.mean),
            "std": listed(self.std),
        }

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint, if there is one, in all processes alike."""
        read_checkpoint(folder, self.state, self.recipe, self._identity())
        at = torch.tensor([self.steps], device=self.device)
        if len(set(self.accelerator.gather(at).tolist())) > 1:
            raise TrainingError(
                f"not every process finds the same checkpoint in {folder}",
                remedy="put the checkpoint on a disk that all hosts share",
            )

    def follow(
        self,
        validation: Any,
        checkpoint: Path | None,
        logs: TrainingLogs,
        progress: Callable[[Progress], None] | None,
        asked: StopRequest,
        due: CheckpointTimer,
    ) -> History:
        """Train from where the run is to its end, or to where it is asked to stop."""
        recipe = self.recipe
        began = self.steps
        self.state.model.train()
        while self.state.position.epoch < recipe.epochs:
            position = self.state.position
            processes, process = self.accelerator.num_processes, self.accelerator.process_index
            shares = [
                share_of(batch, process, processes)
                for batch in self._batches(position.epoch)[position.step :]
            ]
            read = read_batches(
                self.train,
                shares,
                seed=recipe.seed,
                epoch=position.epoch,
                workers=self.workers,
            )
            pending = self._zeros(3)
            tick = time.monotonic()
            for batch in read:
                pending += self._step(batch).to(pending.dtype)
                position.step += 1
                self.done_here += 1
                last = position.step == self.per_epoch
                enough = asked.last(self.done_here)
                write_now = due.at(position.step)
                if not (last or enough or write_now or self._is_time_to_check()):
                    continue
                wishes = self._zeros(2)
                wishes[0] = float(due.now())
                wishes[1] = float(asked.now())
                total = self.accelerator.reduce(torch.cat([pending, wishes]), "sum").tolist()
                pending.zero_()
                self._count(total[:3], time.monotonic() - tick)
                tick = time.monotonic()
                if position.step % _STEPS_BETWEEN_LOGS == 0:
                    logs.step(self.steps, position.loss / position.samples, self._rate(-1))
                enough = enough or total[4] > 0
                if last:
                    self._end_epoch(validation, logs, progress)
                elif progress is not None:
                    progress(self._progress())
                if checkpoint is not None and (last or enough or write_now or total[3] > 0):
                    self._write(checkpoint)
                    due.written()
                    # Writing is no training.
                    tick = time.monotonic()
                if enough:
                    return self._ended(began)
        return self._ended(began)

    def _zeros(self, count: int) -> Tensor:
        # Apple's graphics processors know no float64.
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.zeros(count, dtype=kind, device=self.device)

    def _is_time_to_check(self) -> bool:
        every = 1 if self.device.type == "cpu" else _STEPS_BETWEEN_CHECKS
        return self.state.position.step % every == 0

    def _rate(self, offset: int = 0) -> float:
        return learning_rate(self.recipe, self.steps + offset, self.per_epoch)

    def _step(self, batch: Batch) -> Tensor:
        position, average = self.state.position, self.state.average
        sums = self.learner.step(batch, position.epoch, position.step, self._rate())
        if average is not None:
            average.update(self.state.model, self.steps)
        return sums

    def _count(self, total: list[float], seconds: float) -> None:
        """Add what all processes counted since the last time."""
        loss, right, samples = total
        position = self.state.position
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is {loss} at step {self.steps} (epoch {position.epoch + 1})",
                remedy="lower learning_rate, add warmup_epochs or clip_gradient, or check that "
                "the images are finite",
            )
        position.loss += loss
        position.right += right
        position.samples += samples
        position.seconds += seconds

    def _end_epoch(
        self, validation: Any, logs: TrainingLogs, progress: Callable[[Progress], None] | None
    ) -> None:
        position = self.state.position
        accuracy = None if validation is None else self._validate(validation)
        record = EpochRecord(
            epoch=position.epoch + 1,
            loss=position.loss / position.samples,
            top1=position.right / position.samples,
            validation_loss=None if accuracy is None else accuracy.loss,
            validation_top1=None if accuracy is None else accuracy.top1,
            learning_rate=self._rate(-1),
            seconds=position.seconds,
            images_per_second=position.samples / max(position.seconds, 1e-9),
        )
        logs.epoch(self.steps, record)
        told = replace(self._progress(), record=record)
        self.state.position = Position(epoch=position.epoch + 1)
        history = self.state.history
        self.state.history = replace(history, epochs=(*history.epochs, record), steps=self.steps)
        if progress is not None:
            progress(told)

    def _validate(self, validation: Any) -> Accuracy:
        accelerator, average = self.accelerator, self.state.average
        self._share_buffers()

        def measured() -> Tensor:
            return scores(
                self.state.model,
                validation,
                self.mean,
                self.std,
                process=accelerator.process_index,
                processes=accelerator.num_processes,
            )

        if average is None:
            total = measured()
        else:
            with average.in_place_of(self.state.model):
                total = measured()
        return accuracy_of(accelerator.reduce(total.to(self._zeros(0)), "sum"))

    def _share_buffers(self) -> None:
        """The main process's statistics of batch normalisation, in all processes."""
        if self.accelerator.num_processes == 1:
            return
        averages = self.state.average.values.values() if self.state.average else ()
        for value in (*self.state.model.buffers(), *averages):
            torch.distributed.broadcast(value, 0)

    def _progress(self) -> Progress:
        position = self.state.position
        steps = self.recipe.epochs * self.per_epoch
        pace = (time.monotonic() - self.started) / max(1, self.done_here)
        return Progress(
            epoch=position.epoch + 1,
            epochs=self.recipe.epochs,
            step=self.steps,
            steps=steps,
            loss=position.loss / position.samples,
            top1=position.right / position.samples,
            images_per_second=position.samples / max(position.seconds, 1e-9),
            seconds_left=pace * (steps - self.steps),
        )

    def _write(self, folder: Path) -> None:
        self.state.history = replace(self.state.history, steps=self.steps)
        if self.accelerator.is_main_process:
            write_checkpoint(folder, self.state, self.recipe, self._identity())

    def _ended(self, began: int) -> History:
        self._share_buffers()
        if self.state.average is not None:
            self.state.average.write_into(self.state.model)
        # Nobody reads a file of the main process before it is there.
        self.accelerator.wait_for_everyone()
        return replace(
            self.state.history,
            steps=self.steps,
            finished=self.state.position.epoch == self.recipe.epochs,
            resumed_at=began,
        )
