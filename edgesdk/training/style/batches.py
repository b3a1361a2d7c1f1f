"""Batches of a stylizer's training, as functions of the seed and the step."""

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

__all__ = ["SecondFrames", "StyleBatch", "StyleBatches", "first_crops"]

#: Number of crops of :func:`first_crops`.
_FIRST_CROPS = 16


@dataclass(frozen=True, eq=False)
class SecondFrames:
    """The photographs of a batch a moment later.

    Attributes:
        photographs: ``[N, 3, H, W]``, 0..1.
        flow: Motion from these to the first photographs, ``[N, 2, H, W]``, in pixels.
        visible: 1 where the moved pixel lies within the first photograph, else 0,
            ``[N, 1, H, W]``.
    """

    photographs: torch.Tensor
    flow: torch.Tensor
    visible: torch.Tensor


@dataclass(frozen=True, eq=False)
class StyleBatch:
    """One process's share of a step.

    Attributes:
        photographs: ``[N, 3, H, W]``, 0..1.
        conditions: Style input of the network for each photograph, ``[N, ...]``.
        goals: Style targets of each painting.
        second: The same photographs a moment later; None without a temporal loss.
    """

    photographs: torch.Tensor
    conditions: torch.Tensor
    goals: StyleGoals
    second: SecondFrames | None


class StyleBatches:
    """Photographs and styles in a random order that uses each equally often.

    Args:
        photographs: Photographs to paint.
        conditions: Style input of the network for each style, ``[S, ...]``.
        goals: Targets of the same styles.
        recipe: Seed, sizes and the weight of the temporal loss.
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
        """Return one process's batch of a step, from 0.

        Raises:
            DataError: None of the photographs can be read.
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
    """Return crops to measure before the training, ``[N, 3, crop, crop]``, 0..1.

    Raises:
        DataError: None of the photographs can be read.
    """
    order = permutation(recipe.seed, "looked at", 0, len(photographs))
    chosen = [int(order[place % len(photographs)]) for place in range(_FIRST_CROPS)]
    crops = [photographs.crop(index, recipe.seed, -1 - at) for at, index in enumerate(chosen)]
    return as_tensor(np.stack(crops))
