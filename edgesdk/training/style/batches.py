"""What each step learns from: a function of the seed and the step, so a run resumes exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edgesdk.training.counter_random import permutation
from edgesdk.training.style.objective import StyleGoals
from edgesdk.training.style.paintings import as_tensor
from edgesdk.training.style.photographs import Photographs
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.synthetic_motion import flows, second_frames

__all__ = [
    "Lessons",
    "SecondFrames",
    "StyleBatch",
    "first_crops",
]

#: Crops that are looked at before anything is painted.
_LOOKED_AT = 16


@dataclass(frozen=True, eq=False)
class SecondFrames:
    """The photographs of a lesson a moment later.

    Attributes:
        photographs: ``[N, 3, H, W]``, 0..1.
        flow: From them to the first ones, ``[N, 2, H, W]`` in pixels.
        visible: Where there is such a place, ``[N, 1, H, W]``, 1 or 0.
    """

    photographs: torch.Tensor
    flow: torch.Tensor
    visible: torch.Tensor


@dataclass(frozen=True, eq=False)
class StyleBatch:
    """One process's share of a step.

    Attributes:
        photographs: ``[N, 3, H, W]``, 0..1.
        conditions: What tells the network each picture's style, ``[N, ...]``.
        goals: What each painting shall come close to.
        second: A moment later; None where nobody asks for it.
    """

    photographs: torch.Tensor
    conditions: torch.Tensor
    goals: StyleGoals
    second: SecondFrames | None


class Lessons:
    """Photographs and styles in a random order that gives each the same number of turns.

    Args:
        photographs: To paint.
        conditions: What tells the network each style, ``[S, ...]``.
        goals: Of the same styles.
        recipe: Seed, sizes, and whether second frames are asked for.
    """

    def __init__(
        self,
        photographs: Photographs,
        conditions: torch.Tensor,
        goals: StyleGoals,
        recipe: StyleRecipe,
    ) -> None:
        self._photographs = photographs
        self._conditions = conditions
        self._goals = goals
        self._recipe = recipe

    def at(self, step: int, process: int = 0, processes: int = 1) -> StyleBatch:
        """The lesson of a step, from 0.

        Raises:
            DataError: No photograph can be read.
        """
        recipe = self._recipe
        first = step * recipe.batch_size
        turns = range(first + process, first + recipe.batch_size, processes)
        device = self._conditions.device
        photographs = as_tensor(np.stack([self._crop(turn) for turn in turns]), device)
        styles = torch.tensor([self._style(turn) for turn in turns], device=device)
        return StyleBatch(
            photographs,
            self._conditions[styles],
            self._goals.of(styles),
            self._second(photographs, step, process) if recipe.temporal_weight else None,
        )

    def _crop(self, turn: int) -> np.ndarray:
        count, seed = len(self._photographs), self._recipe.seed
        order = permutation(seed, "photographs", turn // count, count)
        return self._photographs.crop(int(order[turn % count]), seed, turn)

    def _style(self, turn: int) -> int:
        count = len(self._conditions)
        order = permutation(self._recipe.seed, "styles", turn // count, count)
        return int(order[turn % count])

    def _second(self, photographs: torch.Tensor, step: int, process: int) -> SecondFrames:
        count, _, height, width = photographs.shape
        seed = self._recipe.seed + process
        flow, visible = (
            value.to(photographs.device) for value in flows(count, height, width, seed, step)
        )
        return SecondFrames(second_frames(photographs, flow, seed, step), flow, visible)


def first_crops(photographs: Photographs, recipe: StyleRecipe) -> torch.Tensor:
    """Some crops of photographs, before any is painted, ``[N, 3, crop, crop]``, 0..1.

    Raises:
        DataError: No photograph can be read.
    """
    order = permutation(recipe.seed, "looked at", 0, len(photographs))
    chosen = [int(order[place % len(photographs)]) for place in range(_LOOKED_AT)]
    crops = [photographs.crop(index, recipe.seed, -1 - at) for at, index in enumerate(chosen)]
    return as_tensor(np.stack(crops))
