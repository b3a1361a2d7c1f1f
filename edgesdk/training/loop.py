"""Train classifiers by epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edgesdk.frontend.side_effects import generators_kept
from edgesdk.training.accelerator import new_accelerator
from edgesdk.training.augmentation import augmented, mixed, mixup_share
from edgesdk.training.batches import (
    Batch,
    batches_of_epoch,
    read_batches,
    share_of,
)
from edgesdk.training.channels_last import in_fastest_layout, laid_out
from edgesdk.training.counter_random import key
from edgesdk.training.engine import RunOptions, Task, fit_task
from edgesdk.training.evaluation import Accuracy, accuracy_of, check_labels, logits_of, scores
from edgesdk.training.history import EpochRecord, History, Position, Progress
from edgesdk.training.optimization import build_optimizer
from edgesdk.training.recipes import Recipe
from edgesdk.training.schedules import learning_rate

__all__ = ["ClassifierTask", "fit"]

# Reading the loss off a GPU makes the program wait for it.
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
    on_progress: Callable[[Progress], None] | None = None,
    accelerator: Any = None,
    stop_after_steps: int | None = None,
    stop: Callable[[], bool] | None = None,
    checkpoint_every_steps: int = 0,
    checkpoint_every_seconds: float = 300.0,
    workers: int = 0,
) -> History:
    """Train a classifier in place.

    Several processes (``accelerate launch``) share each batch. They take the same steps as one
    process, except that batch normalisation sees each process's part. A run that was stopped and is
    called again with the same arguments resumes at the exact step; on a CPU, with as many threads
    and processes, it ends with the same bits as an uninterrupted run::

        history = fit(model, train, recipe("cifar_sgd"), checkpoint=Path("run"))
        print(history.epochs[-1].top1)

    Args:
        model: Maps images ``[N, C, H, W]`` to logits ``[N, classes]``. Moved to the accelerator's
            device; its mode is restored.
        train: :class:`~edgesdk.training.LabelledImages`, or any map-style data set of
            ``(image tensor [C, H, W], label)`` with ``uint8`` or floating images.
        recipe: Training settings. Its ``batch_size`` is the sum over all processes.
        validation: Data set that is evaluated after every epoch.
        mean: One value per channel to subtract; ``uint8`` images are scaled to 0..1 before.
        std: One value per channel to divide by.
        accelerator: An ``accelerate.Accelerator`` without mixed precision; None for a new one.
        workers: Number of processes that read images that are not in memory.
        checkpoint, resume, logs, on_progress, stop_after_steps, stop, checkpoint_every_steps,
            checkpoint_every_seconds: See :class:`~edgesdk.training.engine.RunOptions`. A checkpoint
            is written after every epoch too.

    Returns:
        The history from the run's first epoch. With ``ema_decay`` the model holds the averaged
        weights, which are the ones that were validated.

    Raises:
        DataError: Samples are unsuitable for training.
        MissingBackendError: accelerate is not installed.
        ModelOutputError: The model does not return logits.
        UsageError: ``stop_after_steps`` is below 1.
        EdgeSdkError: See :func:`~edgesdk.training.engine.fit_task`.
    """
    options = RunOptions(
        checkpoint=checkpoint,
        checkpoint_every_steps=checkpoint_every_steps,
        checkpoint_every_seconds=checkpoint_every_seconds,
        resume=resume,
        on_progress=on_progress,
        logs=logs,
        stop=stop,
        stop_after_steps=stop_after_steps,
    )
    accelerator = accelerator or new_accelerator()
    with generators_kept():
        shape = tuple(train[0][0].shape) if len(train) else ()
        with in_fastest_layout(model, shape) as channels_last:
            task = ClassifierTask(model, train, recipe, accelerator, validation, mean, std)
            task.workers, task.channels_last = workers, channels_last
            history: History = fit_task(task, options)
    return history


class ClassifierTask(Task):
    """Training of a classifier; see :func:`fit` for the arguments."""

    recipe: Recipe
    measures = ("loss", "right")
    checkpoint_at_records = True

    def __init__(
        self,
        model: nn.Module,
        train: Any,
        recipe: Recipe,
        accelerator: Any,
        validation: Any = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self.train, self.validation, self.mean, self.std = train, validation, mean, std
        self.recipe, self.workers, self.channels_last = recipe, 0, False
        self.record_every = len(self._indices(0))
        data = {
            "samples": len(train),
            "classes": list(getattr(train, "classes", ())),
            "mean": None if mean is None else list(mean),
            "std": None if std is None else list(std),
        }
        optimizer = build_optimizer(model, recipe)
        steps = recipe.epochs * self.record_every
        super().__init__(model, optimizer, recipe, accelerator, History(), steps, data)
        self.check_every = 1 if self.device.type == "cpu" else _STEPS_BETWEEN_CHECKS

    def _indices(self, epoch: int) -> list[Any]:
        recipe = self.recipe
        return batches_of_epoch(len(self.train), recipe.batch_size, recipe.seed, epoch)

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield this process's batches, epoch by epoch."""
        recipe, accelerator = self.recipe, self.accelerator
        first, done = divmod(step, self.record_every)
        for epoch in range(first, recipe.epochs):
            shares = [
                share_of(batch, accelerator.process_index, accelerator.num_processes)
                for batch in self._indices(epoch)[done if epoch == first else 0 :]
            ]
            yield from read_batches(
                self.train, shares, seed=recipe.seed, epoch=epoch, workers=self.workers
            )

    def losses(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Augment and mix images, and compare the logits with their labels.

        Raises:
            DataError: Labels are out of range.
            ModelOutputError: The model does not return logits.
        """
        recipe, share = self.recipe, batch.share
        epoch, step = divmod(step, self.record_every)
        # Dropout and other random layers depend on the position of the run alone.
        torch.manual_seed(key(recipe.seed, "step", epoch, step, self.accelerator.process_index))
        images = augmented(
            batch.images.to(self.device, non_blocking=True),
            recipe.augmentation,
            indices=share.indices,
            seed=recipe.seed,
            epoch=epoch,
            mean=self.mean,
            std=self.std,
        )
        labels = batch.labels.to(self.device)
        weights = torch.from_numpy(share.weights).to(self.device)
        partners = torch.from_numpy(share.partners).to(self.device)
        kept = 1.0
        if recipe.mixup:
            kept = mixup_share(recipe.mixup, recipe.seed, epoch, step)
            images = mixed(images, partners, kept)
        with self.autocast():
            images = laid_out(images, self.channels_last)
            logits = logits_of(self.wrapped(images), len(images)).float()
        check_labels(batch.labels, share.indices, logits.shape[1])
        losses, right = self._compared(logits, labels)
        if recipe.mixup:
            other_losses, other_right = self._compared(logits, labels[partners])
            losses = kept * losses + (1 - kept) * other_losses
            right = kept * right + (1 - kept) * other_right
        # Gradients are averaged over the processes, which may have unequal shares.
        loss = (losses * weights).sum() * (self.accelerator.num_processes / share.size)
        sums = [(losses.detach() * weights).sum(), (right * weights).sum(), weights.sum()]
        return loss, torch.stack(sums)

    def _compared(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        smoothing = self.recipe.label_smoothing
        losses = cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return losses, (logits.detach().argmax(1) == labels).float()

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return learning_rate(self.recipe, step, self.record_every)

    def record(self, position: Position) -> EpochRecord:
        """Return the record of an epoch, with the accuracy on the validation set."""
        accuracy = None if self.validation is None else self._validate()
        means = position.means
        return EpochRecord(
            epoch=position.step // self.record_every,
            loss=means["loss"],
            top1=means["right"],
            validation_loss=None if accuracy is None else accuracy.loss,
            validation_top1=None if accuracy is None else accuracy.top1,
            learning_rate=self.rate(position.step - 1),
            seconds=position.seconds,
            images_per_second=position.speed,
        )

    def _validate(self) -> Accuracy:
        model, average = self.state.model, self.state.average
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        self.share_buffers()
        with nullcontext() if average is None else average.in_place_of(model):
            total = scores(
                model, self.validation, self.mean, self.std, process=process, processes=processes
            )
        return accuracy_of(self.accelerator.reduce(total.to(self.zeros(0)), "sum"))

    def progress(
        self, position: Position, pace: float, record: EpochRecord | None, preview: Path | None
    ) -> Progress:
        """Return the progress of the epoch."""
        means = position.means
        return Progress(
            epoch=(position.step - 1) // self.record_every + 1,
            epochs=self.recipe.epochs,
            step=position.step,
            steps=self.steps,
            loss=means["loss"],
            top1=means["right"],
            images_per_second=position.speed,
            seconds_left=pace * (self.steps - position.step),
            record=record,
        )

    def logged(self, position: Position, record: EpochRecord | None) -> Mapping[str, float]:
        """Return the loss and the rate every ten steps, and all of an epoch's record."""
        values: dict[str, float | None] = {}
        last = position.step - 1
        if (last % self.record_every + 1) % _STEPS_BETWEEN_LOGS == 0:
            rate = self.rate(last)
            values = {"step/loss": position.means["loss"], "step/learning_rate": rate}
        if record is not None:
            values |= {
                "loss/train": record.loss,
                "top1/train": record.top1,
                "loss/validation": record.validation_loss,
                "top1/validation": record.validation_top1,
                "speed/images_per_second": record.images_per_second,
                "learning_rate": record.learning_rate,
            }
        return {name: value for name, value in values.items() if value is not None}
