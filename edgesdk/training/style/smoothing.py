"""Training of meta-smoothing: its loss and its loop, ended and resumed at any step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgesdk.errors import DivergedError, UsageError
from edgesdk.models.meta_smoothing import MetaSmoothing
from edgesdk.training.checkpoint_file import (
    damaged,
    optimizer_content,
    optimizer_state,
    read_run,
    require_same,
    require_same_tensors,
    run_file,
    write_run,
)
from edgesdk.training.ending import Asked, Due
from edgesdk.training.style.history import StyleHistory, StyleProgress, StyleRecord
from edgesdk.training.style.losses import total_variation
from edgesdk.training.style.smoothing_pairs import Photos, SmoothingLessons
from edgesdk.training.style.smoothing_recipe import SmoothingRecipe, smoothing_rate
from edgesdk.video.frames import Painter

__all__ = ["CHECKPOINT_VERSION", "fit_smoothing", "smoothing_loss"]

#: Raised whenever a reader of the version before would misread a file.
CHECKPOINT_VERSION = 1

_PARTS = ("recipe", "data", "position", "history", "optimizer")
#: A usual mean difference between an interpolated painting and its reference, and one so small that
#: it is of no matter.
_USUAL, _LEAST = 0.03, 1 / 255
#: Steps between two records.
_STEPS_A_RECORD = 50


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def smoothing_loss(answer: Tensor, reference: Tensor, edges: Tensor) -> dict[str, Tensor]:
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


@dataclass
class _State:
    """What changes as the network is trained."""

    model: MetaSmoothing
    optimizer: torch.optim.Optimizer
    history: StyleHistory = field(default_factory=StyleHistory)
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    counted: int = 0


def fit_smoothing(
    model: MetaSmoothing,
    photographs: Photos,
    painters: Sequence[Painter],
    recipe: SmoothingRecipe,
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
        stop: Asked after every step whether to end, with a checkpoint.
        stop_after_steps: End this call after so many.

    Returns:
        The history from the run's first step.

    Raises:
        DataError: No photograph can be read.
        DivergedError: The loss is not finite; the checkpoint is the last good one.
        ModelOutputError: A painter returned something that is no picture.
        StorageError: The checkpoint cannot be written.
        TrainingError: The checkpoint is damaged or belongs to another run.
        UsageError: No photograph, no painter.
    """
    if stop_after_steps is not None and stop_after_steps < 1:
        raise UsageError("stop_after_steps is below 1", remedy="give a positive number")
    lessons = SmoothingLessons(photographs, painters, recipe)
    known = {
        "photographs": photographs.identity(),
        "painters": len(painters),
        "network": dict(model.config),
        **dict(identity or {}),
    }
    state = _State(model, _optimizer(model, recipe))
    mode = model.training
    model.train()
    try:
        if checkpoint is not None and resume:
            _read(checkpoint, state, recipe, known)
        began, started = state.step, time.monotonic()
        asked, due = Asked(stop, stop_after_steps), Due(0, checkpoint_every_seconds)
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
                state.losses, state.counted = {}, 0
            if checkpoint is not None and (enough or due.now()):
                _write(checkpoint, state, recipe, known)
                due.written()
            if enough:
                break
    finally:
        model.train(mode)
    return replace(
        state.history, steps=state.step, finished=state.step == recipe.steps, resumed_at=began
    )


def _optimizer(model: MetaSmoothing, recipe: SmoothingRecipe) -> torch.optim.Optimizer:
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


def _learn(state: _State, lessons: SmoothingLessons, recipe: SmoothingRecipe) -> None:
    lesson = lessons.at(state.step)
    device = next(state.model.parameters()).device
    original, reference = lesson.original.to(device), lesson.reference.to(device)
    answer = state.model(lesson.painted.to(device), original)
    edges = original if recipe.gradients_of == "original" else reference
    parts = smoothing_loss(answer, reference, edges)
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
        group["lr"] = group["share"] * smoothing_rate(recipe, state.step)
    state.optimizer.step()
    state.step += 1
    state.counted += 1
    for name, value in parts.items():
        state.losses[name] = state.losses.get(name, 0.0) + value.item()


def _weighted(recipe: SmoothingRecipe, parts: Mapping[str, Any]) -> Any:
    return (
        parts["difference"]
        + recipe.gradient_weight * parts["gradient"]
        + recipe.variation_weight * parts["variation"]
    )


def _record(state: _State, recipe: SmoothingRecipe, pace: float | None) -> StyleRecord:
    losses = {name: value / state.counted for name, value in state.losses.items()}
    return StyleRecord(
        step=state.step,
        losses=losses,
        total=_weighted(recipe, losses),
        learning_rate=smoothing_rate(recipe, state.step - 1),
        pictures_per_second=recipe.batch_size / pace if pace else 0.0,
    )


def _write(folder: Path, state: _State, recipe: SmoothingRecipe, known: dict[str, Any]) -> None:
    tensors = {f"model/{name}": value for name, value in state.model.state_dict().items()}
    own, numbers = optimizer_content(state.optimizer)
    tensors |= {f"optimizer/{name}": value for name, value in own.items()}
    description = {
        "version": CHECKPOINT_VERSION,
        "recipe": recipe.to_dict(),
        "data": known,
        "position": {"step": state.step, "losses": state.losses, "counted": state.counted},
        "history": state.history.to_dict(),
        "optimizer": numbers,
    }
    write_run(folder, tensors, description, state.history.to_dict())


def _read(folder: Path, state: _State, recipe: SmoothingRecipe, known: dict[str, Any]) -> None:
    found = read_run(folder, CHECKPOINT_VERSION, _PARTS)
    if found is None:
        return
    tensors, description = found
    path = run_file(folder)
    require_same("recipe", description["recipe"], recipe.to_dict(), path)
    require_same("data", description["data"], known, path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
    try:
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            parts[kind][rest] = value
        require_same_tensors(parts["model"], state.model.state_dict(), path)
        position = description["position"]
        step, counted = position["step"], position["counted"]
        if type(step) is not int or type(counted) is not int or min(step, counted) < 0:
            raise ValueError(f"step {step!r}, counted {counted!r}")
        losses = {str(name): float(value) for name, value in position["losses"].items()}
        history = StyleHistory.from_dict(description["history"])
        groups = state.optimizer.state_dict()["param_groups"]
        kept = optimizer_state(parts["optimizer"], description["optimizer"])
        state.optimizer.load_state_dict({"state": kept, "param_groups": groups})
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise damaged(path) from error
    state.model.load_state_dict(parts["model"])
    state.history, state.step, state.losses, state.counted = history, step, losses, counted
