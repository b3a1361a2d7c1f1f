"""Train guided upscaling of paintings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgesdk.models.guided_upscale import GuidedUpscale
from edgesdk.training.accelerator import SingleProcess
from edgesdk.training.engine import RunOptions, fit_task
from edgesdk.training.style.guided_upscale_pairs import GuidedUpscaleBatches, Photos, StyleBatch
from edgesdk.training.style.guided_upscale_recipe import GuidedUpscaleRecipe
from edgesdk.training.style.history import StyleHistory, StyleProgress
from edgesdk.training.style.loop import StepTask
from edgesdk.training.style.losses import guided_upscale_loss, interpolation_weights
from edgesdk.video.frames import Painter

__all__ = ["fit_guided_upscale"]


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

    A stopped run resumes exactly, see :func:`~edgesdk.training.engine.fit_task`.

    Args:
        model: Network to train.
        photographs: Photographs to paint, such as
            :class:`~edgesdk.training.style.photographs.Photographs`.
        painters: Stylizers of any kind; the network learns to enlarge the paintings of them all.
        recipe: Training settings.
        identity: JSON values that identify the painters; the checkpoint of another run is refused.
        checkpoint, checkpoint_every_seconds, resume, on_progress, stop, stop_after_steps: See
            :class:`~edgesdk.training.engine.RunOptions`.

    Returns:
        The history from the run's first step.

    Raises:
        DataError: None of the photographs can be read.
        MissingEnvironmentError: The native core, which downscales paintings, cannot be built.
        ModelOutputError: A painter did not return a picture.
        UsageError: Photographs or painters are missing, or ``stop_after_steps`` is below 1.
        EdgeSdkError: See :func:`~edgesdk.training.engine.fit_task`.
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
        others = [one for one in model.parameters() if not any(one is its for its in predictor)]
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
            weights = interpolation_weights(painted, reference)
            parts = {name: weights * value for name, value in parts.items()}
        means = {name: value.mean() for name, value in parts.items()}
        count = len(reference)
        sums = [count * means[name].detach().double() for name in self.measures]
        return self.total(means), torch.stack([*sums, sums[0].new_tensor(count)])

    def total(self, losses: Mapping[str, Any]) -> Any:
        """Return the weighted sum of loss terms."""
        gradient = self.recipe.gradient_weight * losses["gradient"]
        variation = self.recipe.variation_weight * losses["variation"]
        return losses["difference"] + gradient + variation
