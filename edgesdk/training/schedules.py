"""The learning rate as a pure function of the step: nothing to save, nothing to get out of step."""

from __future__ import annotations

import math

from edgesdk.training.recipes import Recipe

__all__ = ["learning_rate"]


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate that a step is taken with.

    With ``W`` warm-up steps of ``T`` in all, step ``s`` (from 0) gets ``(s + 1) / W`` of the full
    rate while ``s < W``. Afterwards ``cosine`` gives ``(1 + cos(pi * (s - W) / (T - W))) / 2`` of
    it, and ``step`` ``gamma`` to the number of milestones ``m`` with ``m * T <= s``.

    Args:
        recipe: Names the schedule.
        step: From 0.
        steps_per_epoch: Steps an epoch.
    """
    total = recipe.epochs * steps_per_epoch
    warm = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if recipe.schedule == "cosine":
        share = 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
    elif recipe.schedule == "step":
        # 50/90 of 90 epochs is 50 epochs, whatever its binary digits say.
        passed = sum(milestone * total <= step + 1e-6 for milestone in recipe.milestones)
        share = recipe.gamma**passed
    else:
        share = 1.0
    return recipe.learning_rate * share
