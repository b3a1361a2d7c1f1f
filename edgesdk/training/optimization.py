"""Build the optimizer of a recipe."""

from __future__ import annotations

import torch
from torch import nn

from edgesdk.errors import TrainingError
from edgesdk.training.recipes import Recipe

__all__ = ["build_optimizer", "set_learning_rate", "trainable_parameters"]


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return all parameters that require a gradient.

    Raises:
        TrainingError: The model has no such parameter.
    """
    parameters = [value for value in model.parameters() if value.requires_grad]
    if not parameters:
        raise TrainingError(
            f"{type(model).__name__} has no trainable parameter",
            remedy="give a model whose parameters require a gradient",
        )
    return parameters


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build an optimizer of :func:`trainable_parameters`."""
    parameters = trainable_parameters(model)
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=decay,
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, weight_decay=decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of the next step in every group, times the group's ``share`` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
