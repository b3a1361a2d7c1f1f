"""Exponential moving average of a model's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = ["AveragedWeights"]


# torch.optim.swa_utils.AveragedModel copies the weights at its first update where this average
# moves towards them, and counts its updates in the model's state: other numbers, and more code.
class AveragedWeights:
    """Averages of all floating parameters and buffers; other buffers are copied.

    After step ``n`` (from 0) the average moves by ``1 - min(decay, (1 + n) / (10 + n))`` towards
    the model, so that it soon forgets the weights of the first steps.

    Args:
        model: Model whose weights the average starts from.
        decay: Highest decay, below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.values: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in model.state_dict().items()
        }

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the model's weights, after ``step`` earlier steps."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            average = self.values[name]
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), 1 - decay)
            else:
                average.copy_(value)

    @torch.no_grad()
    def write_into(self, model: nn.Module) -> None:
        """Copy the averaged weights into the model."""
        for name, value in model.state_dict().items():
            value.copy_(self.values[name])

    @contextlib.contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Give the model the averaged weights while the body runs."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.write_into(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    value.copy_(own[name])
