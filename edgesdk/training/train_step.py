"""One step of learning: augment, mix, judge, descend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edgesdk.errors import TrainingError
from edgesdk.training.augmentation import augmented, mixed, mixup_share
from edgesdk.training.batches import Batch
from edgesdk.training.channels_last import laid_out
from edgesdk.training.counter_random import key
from edgesdk.training.evaluation import check_labels, logits_of
from edgesdk.training.optimization import build_optimizer, set_learning_rate
from edgesdk.training.recipes import Recipe

__all__ = ["TrainStep"]

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainStep:
    """A model with its optimizer in one process of the accelerator.

    Args:
        model: Trained in place; moved to the accelerator's device.
        recipe: How to train.
        accelerator: An ``accelerate.Accelerator`` without mixed precision.
        mean: See :func:`edgesdk.training.fit`.
        std: See :func:`edgesdk.training.fit`.

    Raises:
        TrainingError: A precision the device cannot train in, or a model without parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        accelerator: Any,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        if accelerator.mixed_precision != "no":
            raise TrainingError(
                f"the accelerator works in {accelerator.mixed_precision}",
                remedy="leave it without mixed precision and set the recipe's precision",
            )
        self._device: torch.device = accelerator.device
        if recipe.precision == "fp16" and self._device.type == "cpu":
            raise TrainingError(
                "fp16 cannot be trained on a CPU", remedy="set precision=bf16 or precision=fp32"
            )
        self._model, self._recipe, self._accelerator = model, recipe, accelerator
        self._mean, self._std = mean, std
        self.channels_last = False
        self.optimizer = build_optimizer(model, recipe)
        self.scaler = torch.amp.GradScaler(self._device.type, enabled=recipe.precision == "fp16")
        # Moves the parameters themselves, so that the optimizer still holds them.
        self._wrapped = accelerator.prepare_model(model)

    def step(self, batch: Batch, epoch: int, step: int, rate: float) -> Tensor:
        """Learn from a batch.

        Args:
            batch: This process's share.
            epoch: From 0.
            step: Within the epoch, from 0.
            rate: The learning rate.

        Returns:
            Sum of losses, right answers and samples of this process, ``[3]``.

        Raises:
            DataError: Labels out of range.
            ModelOutputError: The model gives no logits.
        """
        recipe, share = self._recipe, batch.share
        process = self._accelerator.process_index
        # Dropout and the like: a function of where the run is.
        torch.manual_seed(key(recipe.seed, "step", epoch, step, process))
        images = augmented(
            batch.images.to(self._device, non_blocking=True),
            recipe.augmentation,
            indices=share.indices,
            seed=recipe.seed,
            epoch=epoch,
            mean=self._mean,
            std=self._std,
        )
        labels, weights, partners = (
            value.to(self._device)
            for value in (
                batch.labels,
                torch.from_numpy(share.weights),
                torch.from_numpy(share.partners),
            )
        )
        kept = 1.0
        if recipe.mixup:
            kept = mixup_share(recipe.mixup, recipe.seed, epoch, step)
            images = mixed(images, partners, kept)
        with torch.autocast(
            self._device.type,
            dtype=_HALF.get(recipe.precision),
            enabled=recipe.precision in _HALF,
        ):
            images = laid_out(images, self.channels_last)
            logits = logits_of(self._wrapped(images), len(images)).float()
        check_labels(batch.labels, share.indices, logits.shape[1])
        losses, right = self._judged(logits, labels)
        if recipe.mixup:
            other_losses, other_right = self._judged(logits, labels[partners])
            losses = kept * losses + (1 - kept) * other_losses
            right = kept * right + (1 - kept) * other_right
        # Gradients are averaged over the processes, which may have unequal shares.
        self._descend((losses * weights).sum() * (self._processes / share.size), rate)
        sums = [(losses.detach() * weights).sum(), (right * weights).sum(), weights.sum()]
        return torch.stack(sums)

    @property
    def _processes(self) -> int:
        return self._accelerator.num_processes

    def _judged(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        smoothing = self._recipe.label_smoothing
        losses = cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return losses, (logits.detach().argmax(1) == labels).float()

    def _descend(self, loss: Tensor, rate: float) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self._accelerator.backward(self.scaler.scale(loss))
        if self._recipe.clip_gradient:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.clip_gradient)
        set_learning_rate(self.optimizer, rate)
        self.scaler.step(self.optimizer)
        self.scaler.update()
