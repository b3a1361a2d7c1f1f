"""Training of meta-smoothing: its loss and its loop, ended and resumed at any step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgesdk.errors import DivergedError, UsageError
from edgesdk.models.guided_upscale import GuidedUpscale
from edgesdk.training.stopping import CheckpointTimer, StopRequest
from edgesdk.training.style.checkpoints import StyleState, read_checkpoint, write_checkpoint
from edgesdk.training.style.guided_upscale_pairs import GuidedUpscaleBatches, Photos
from edgesdk.training.style.guided_upscale_recipe import GuidedUpscaleRecipe, guided_upscale_rate
from edgesdk.training.style.history import StyleHistory, StyleProgress, StyleRecord
from edgesdk.training.style.losses import total_variation
from edgesdk.video.frames import Painter

__all__ = ["fit_guided_upscale", "guided_upscale_loss"]

#: A usual mean difference between an interpolated painting and its reference, and one so small that
#: it is of no matter.
_USUAL, _LEAST = 0.03, 1 / 255
#: Steps between two records.
_STEPS_A_RECORD = 50


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def guided_upscale_loss(answer: Tensor, reference: Tensor, edges: Tensor) -> dict[str, Tensor]:
    """The three parts of the loss, unweighted.

    Args:
        answer: The enlarged painting, ``[N, 3, H, W]``.
        reference: What it should be.
        edges: Whose gradients it should have: the picture that was painted, or the reference.

    Returns:
        Of every picture, ``[N]``: ``difference`` of answer and reference, ``gradient`` of the
        gradients of answer and edges (both mean absolute values), ``variation`` (the sum of
        squares).

    Raises:
        UsageError: Tensors of other or different shapes.
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
    """How much each picture counts, ``[N]``: 1 where interpolation is a usual way off.

    A gain of one decibel is then worth as much in a smooth painting as in a noisy one.
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
    progress: Callable[[StyleProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    stop_after_steps: int | None = None,
) -> StyleHistory:
    """Train meta-smoothing in place, on the processor or where the model is.

    What a step learns from is a function of the step. A run that was ended anywhere and is called
    again with the same arguments goes on at the exact step; with as many threads, it ends with the
    same bits as one that was never ended.

    Args:
        model: To be trained.
        photographs: To paint, such as
            :class:`~edgesdk.training.style.photographs.Photographs`.
        painters: Stylizers, of any kind; the network learns to enlarge the paintings of them all.
        recipe: How to train.
        checkpoint: Folder of the checkpoint, written in one step; None for none.
        checkpoint_every_seconds: Time between two.
        identity: What identifies the painters, as JSON values; a checkpoint of another run is
            refused.
        resume: Go on from the checkpoint where there is one.
        progress: Called after every step.
        stop: StopRequest after every step whether to end, with a checkpoint.
        stop_after_steps: End this call after so many.

    Returns:
        The history from the run's first step.

    Raises:
        DataError: No photograph can be read.
        DivergedError: The loss is not finite; the checkpoint is the last good one.
        MissingEnvironmentError: The native core, which makes paintings small, cannot be built.
        ModelOutputError: A painter returned something that is no picture.
        StorageError: The checkpoint cannot be written.
        TrainingError: The checkpoint is damaged or belongs to another run.
        UsageError: No photograph, no painter.
    """
    if stop_after_steps is not None and stop_after_steps < 1:
        raise UsageError("stop_after_steps is below 1", remedy="give a positive number")
    lessons = GuidedUpscaleBatches(photographs, painters, recipe)
    known = {
        "photographs": photographs.identity(),
        "painters": len(painters),
        "network": dict(model.config),
        **dict(identity or {}),
    }
    state = StyleState(model, _optimizer(model, recipe))
    mode = model.training
    model.train()
    try:
        if checkpoint is not None and resume:
            read_checkpoint(checkpoint, state, recipe, known)
        began, started = state.step, time.monotonic()
        asked, due = (
            StopRequest(stop, stop_after_steps),
            CheckpointTimer(0, checkpoint_every_seconds),
        )
        while state.step < recipe.steps:
            _learn(state, lessons, recipe)
            last = state.step == recipe.steps
            enough = last or asked.last(state.step - began) or asked.now()
            if progress is not None:
                pace = (time.monotonic() - started) / (state.step - began)
                left = pace * (recipe.steps - state.step)
                record = _record(state, recipe, pace)
                progress(StyleProgress(state.step, recipe.steps, record, left))
            if state.step % _STEPS_A_RECORD == 0 or last:
                # Without a speed, which would make two runs of the same steps differ.
                record = _record(state, recipe, None)
                state.history = replace(state.history, records=(*state.history.records, record))
                state.begin_record()
            if checkpoint is not None and (enough or due.now()):
                write_checkpoint(checkpoint, state, recipe, known)
                due.written()
            if enough:
                break
    finally:
        model.train(mode)
    return replace(
        state.history, steps=state.step, finished=state.step == recipe.steps, resumed_at=began
    )


def _optimizer(model: GuidedUpscale, recipe: GuidedUpscaleRecipe) -> torch.optim.Optimizer:
    predictor = list(model.upscale.predictor.parameters())
    theirs = {id(one) for one in predictor}
    others = [one for one in model.parameters() if id(one) not in theirs]
    # Each weight of a filter is a sum over the whole hidden layer: what is a small step for a
    # convolution would turn all filters over.
    groups = [
        {"params": others, "share": 1.0},
        {"params": predictor, "share": recipe.predictor_share},
    ]
    return torch.optim.Adam(groups, lr=recipe.learning_rate)


def _learn(state: StyleState, lessons: GuidedUpscaleBatches, recipe: GuidedUpscaleRecipe) -> None:
    lesson = lessons.at(state.step)
    device = next(state.model.parameters()).device
    original, reference = lesson.original.to(device), lesson.reference.to(device)
    answer = state.model(lesson.painted.to(device), original)
    edges = original if recipe.gradients_of == "original" else reference
    parts = guided_upscale_loss(answer, reference, edges)
    if recipe.balanced:
        shares = _shares(lesson.painted.to(device), reference)
        parts = {name: shares * value for name, value in parts.items()}
    parts = {name: value.mean() for name, value in parts.items()}
    loss = _weighted(recipe, parts)
    if not torch.isfinite(loss):
        raise DivergedError(
            f"the loss is {loss.item()} at step {state.step}; nothing was learnt from it",
            remedy="the checkpoint, where there is one, is from before: go on from it with a lower "
            "learning_rate",
        )
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if recipe.clip_gradient:
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_gradient)
    for group in state.optimizer.param_groups:
        group["lr"] = group["share"] * guided_upscale_rate(recipe, state.step)
    state.optimizer.step()
    state.step += 1
    pictures = len(reference)
    # Without the time it took, which would make two runs of the same steps differ.
    state.count({name: pictures * value.item() for name, value in parts.items()}, pictures, 0.0)


def _weighted(recipe: GuidedUpscaleRecipe, parts: Mapping[str, Any]) -> Any:
    return (
        parts["difference"]
        + recipe.gradient_weight * parts["gradient"]
        + recipe.variation_weight * parts["variation"]
    )


def _record(state: StyleState, recipe: GuidedUpscaleRecipe, pace: float | None) -> StyleRecord:
    losses = {name: value / state.pictures for name, value in state.losses.items()}
    return StyleRecord(
        step=state.step,
        losses=losses,
        total=_weighted(recipe, losses),
        learning_rate=guided_upscale_rate(recipe, state.step - 1),
        pictures_per_second=recipe.batch_size / pace if pace else 0.0,
    )
