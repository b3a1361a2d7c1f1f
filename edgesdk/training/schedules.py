"""Learning rates as pure functions of the step, so that a resumed run needs no schedule state."""

from __future__ import annotations

import math
from typing import Any

from edgesdk.training.recipes import Recipe

__all__ = ["cosine", "learning_rate", "rate_at"]


def cosine(done: float, total: float = 1.0) -> float:
    """Return the share of the full rate after ``done`` of ``total``: 1 at 0, falling to 0."""
    return 0.5 * (1.0 + math.cos(math.pi * done / total))


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a classifier's training step.

    With ``W`` warm-up steps of ``T`` in all, step ``s`` (from 0) gets ``(s + 1) / W`` of the full
    rate while ``s < W``. Afterwards ``cosine`` gives ``(1 + cos(pi * (s - W) / (T - W))) / 2`` of
    it, and ``step`` ``gamma`` to the number of milestones ``m`` with ``m * T <= s``.

    Args:
        recipe: Names the schedule.
        step: Step from 0.
        steps_per_epoch: Steps per epoch.
    """
    total = recipe.epochs * steps_per_epoch
    warm = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if recipe.schedule == "cosine":
        share = cosine(step - warm, max(1, total - warm))
    elif recipe.schedule == "step":
        # 50/90 of 90 epochs is 50 epochs, despite rounding in binary.
        passed = sum(milestone * total <= step + 1e-6 for milestone in recipe.milestones)
        share = recipe.gamma**passed
    else:
        share = 1.0
    return recipe.learning_rate * share


def rate_at(recipe: Any, step: int) -> float:
    """Return the learning rate of a step of a recipe that counts steps instead of epochs.

    Args:
        recipe: Has ``learning_rate``, ``steps``, ``warmup_steps`` and perhaps ``schedule``.
        step: Step from 0.
    """
    warm = recipe.warmup_steps
    if step < warm:
        return float(recipe.learning_rate * (step + 1) / warm)
    if getattr(recipe, "schedule", "cosine") == "constant":
        return float(recipe.learning_rate)
    # Dividing first rounds as it always has: the same seeds give the same bits.
    return float(recipe.learning_rate * cosine((step - warm) / max(1, recipe.steps - warm)))
