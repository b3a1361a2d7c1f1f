"""Train guided upscaling of paintings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.models.guided_upscale import GuidedUpscale
from edgesdk.training.accelerator import SingleProcess
from edgesdk.training.checkpoints import Position
from edgesdk.training.engine import RunOptions, fit_task
from edgesdk.training.style.guided_upscale_pairs import GuidedUpscaleBatches, Photos, StyleBatch
from edgesdk.training.style.guided_upscale_recipe import GuidedUpscaleRecipe
from edgesdk.training.style.history import StyleHistory, StyleProgress, StyleRecord
from edgesdk.training.style.loop import StepTask
from edgesdk.training.style.losses import total_variation
from edgesdk.video.frames import Painter

__all__ = ["fit_guided_upscale", "guided_upscale_loss"]

#: A usual mean difference between an interpolated painting and its reference, and a negligible one.
_USUAL, _LEAST = 0.03, 1 / 255


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def guided_upscale_loss(answer: Tensor, reference: Tensor, edges: Tensor) -> dict[str, Tensor]:
    """Compute the three unweighted terms of the loss for every picture, ``[N]``.

    Args:
        answer: Enlarged painting, ``[N, 3, H, W]``.
        reference: Painting at full size.
        edges: Picture whose gradients the answer should have: the original or the reference.

    Returns:
        ``difference`` between answer and reference, ``gradient``: difference between the gradients
        of answer and edges (both mean absolute values), and ``variation`` (the sum of squares).

    Raises:
        UsageError: The tensors have other or different shapes.
    """
    if answer.dim() != 4 or not answer.shape == reference.shape == edges.shape:
        shapes = ", ".join(str(list(one.shape)) for one in (answer, reference, edges))
        raise UsageError(f"three tensors of one shape [N, 3, H, W] are needed, not {shapes}")
    pairs = zip(_gradients(answer), _gradients(edges), strict=True)
    across, down = ((mine - its).abs().mean(dim=(1, 2, 3)) for mine, its in pairs)
    return {
        "difference": (answer - reference).abs().mean(dim=(1, 2, 3)),
        "gradient": (across + down) / 2,
        "variation": total_variation(answer),
    }


def _shares(painted: Tensor, reference: Tensor) -> Tensor:
    """Return the weight of each picture, ``[N]``: 1 where interpolation has a usual error.

    A gain of one decibel then counts as much in a smooth painting as in a noisy one.
    """
    plain = functional.interpolate(painted, size=reference.shape[2:], mode="bicubic")
    return _USUAL / ((plain - reference).abs().mean(dim=(1, 2, 3)) + _LEAST)


def fit_guided_upscale(
    model: GuidedUpscale,
    photographs: Photos,
    painters: Sequence[Painter],
    recipe: GuidedUpscaleRecipe,
    *,
    checkpoint: Path | None = None,
    checkpoint_every_seconds: float = 300.0,
    identity: Mapping[str, Any] | None = None,
    resume: bool = True,
    on_progress: Callable[[StyleProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    stop_after_steps: int | None = None,
) -> StyleHistory:
    """Train guided upscaling in place, on the device of the model.

    A run that was stopped and is called again with the same arguments resumes at the exact step;
    with as many threads, it ends with the same bits as an uninterrupted run.

    Args:
        model: Network to train.
        photographs: Photographs to paint, such as
            :class:`~edgesdk.training.style.photographs.Photographs`.
        painters: Stylizers of any kind; the network learns to enlarge the paintings of them all.
        recipe: Training settings.
        checkpoint: Folder of the checkpoint; None for none.
        checkpoint_every_seconds: Seconds between checkpoints.
        identity: JSON values that identify the painters; the checkpoint of another run is refused.
        resume: True to resume from the checkpoint, if there is one.
        on_progress: Called after every step.
        stop: Called after every step; True ends the call, with a checkpoint.
        stop_after_steps: Number of steps after which this call ends, with a checkpoint.

    Returns:
        The history from the run's first step.

    Raises:
        CheckpointError: The checkpoint is damaged, or has an older format.
        DataError: None of the photographs can be read.
        DivergedError: The loss is not finite; the checkpoint is from before.
        MissingEnvironmentError: The native core, which downscales paintings, cannot be built.
        ModelOutputError: A painter did not return a picture.
        StorageError: The checkpoint cannot be written.
        TrainingError: The checkpoint belongs to another run.
        UsageError: Photographs or painters are missing, or ``stop_after_steps`` is below 1.
    """
    options = RunOptions(
        checkpoint=checkpoint,
        checkpoint_every_seconds=checkpoint_every_seconds,
        resume=resume,
        on_progress=on_progress,
        stop=stop,
        stop_after_steps=stop_after_steps,
    )
    data = {
        "photographs": photographs.identity(),
        "painters": len(painters),
        "network": dict(model.config),
        **dict(identity or {}),
    }
    batches = GuidedUpscaleBatches(photographs, painters, recipe)
    history: StyleHistory = fit_task(_GuidedUpscaleTask(model, batches, recipe, data), options)
    return history


class _GuidedUpscaleTask(StepTask):
    """Training of guided upscaling, in one process."""

    recipe: GuidedUpscaleRecipe
    measures = ("difference", "gradient", "variation")
    timed = False

    def __init__(
        self,
        model: GuidedUpscale,
        source: GuidedUpscaleBatches,
        recipe: GuidedUpscaleRecipe,
        data: dict[str, Any],
    ) -> None:
        predictor = list(model.upscale.predictor.parameters())
        theirs = {id(one) for one in predictor}
        others = [one for one in model.parameters() if id(one) not in theirs]
        # Each weight of a filter is a sum over the whole hidden layer: a step that is small for a
        # convolution would change every filter completely.
        groups = [
            {"params": others, "share": 1.0},
            {"params": predictor, "share": recipe.predictor_share},
        ]
        optimizer = torch.optim.Adam(groups, lr=recipe.learning_rate)
        process = SingleProcess(next(model.parameters()).device)
        super().__init__(model, optimizer, recipe, process, StyleHistory(), recipe.steps, data)
        self.source = source

    def batches(self, step: int) -> Iterator[StyleBatch]:
        """Yield the patches of each step."""
        for number in range(step, self.steps):
            yield self.source.at(number)

    def losses(self, batch: StyleBatch, step: int) -> tuple[Tensor, Tensor]:
        """Enlarge the paintings and compare them with their references."""
        painted = batch.painted.to(self.device)
        original, reference = batch.original.to(self.device), batch.reference.to(self.device)
        answer = self.wrapped(painted, original)
        edges = original if self.recipe.gradients_of == "original" else reference
        parts = guided_upscale_loss(answer, reference, edges)
        if self.recipe.balanced:
            shares = _shares(painted, reference)
            parts = {name: shares * value for name, value in parts.items()}
        means = {name: value.mean() for name, value in parts.items()}
        count = len(reference)
        sums = [count * means[name].detach().double() for name in self.measures]
        return self.total(means), torch.stack([*sums, sums[0].new_tensor(count)])

    def total(self, losses: Mapping[str, Any]) -> Any:
        """Return the weighted sum of loss terms."""
        return (
            losses["difference"]
            + self.recipe.gradient_weight * losses["gradient"]
            + self.recipe.variation_weight * losses["variation"]
        )

    def progress(
        self, position: Position, pace: float, record: StyleRecord | None, preview: Path | None
    ) -> StyleProgress:
        """Return the progress, with the speed of this call."""
        progress = super().progress(position, pace, record, preview)
        speed = self.recipe.batch_size / pace
        return replace(progress, record=replace(progress.record, pictures_per_second=speed))
