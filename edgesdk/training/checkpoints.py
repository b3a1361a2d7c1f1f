"""Checkpoints of classifiers.

There are no states of generators in them: every random number is a function of the seed and of
where the run is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from edgesdk.training.ema import AveragedWeights
from edgesdk.training.history import History
from edgesdk.training.recipes import Recipe

__all__ = ["CHECKPOINT_VERSION", "Position", "Trained", "read_checkpoint", "write_checkpoint"]

#: Raised whenever a reader of the version before would misread a file.
CHECKPOINT_VERSION = 1

_PARTS = ("recipe", "data", "position", "history", "optimizer", "scaler")


@dataclass
class Position:
    """How far a run is.

    Attributes:
        epoch: Epochs that are finished.
        step: Steps done in the epoch that is not.
        loss: Sum of the losses of that epoch's samples so far.
        right: How many of them were right.
        samples: How many there were.
        seconds: That it has taken.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    right: float = 0.0
    samples: float = 0.0
    seconds: float = 0.0


@dataclass
class Trained:
    """What changes as a model is trained.

    Attributes:
        model: Its weights and buffers.
        optimizer: Its state, such as momentum.
        average: Averaged weights, or None.
        scaler: Of the gradients of fp16.
        position: How far the run is.
        history: Its finished epochs.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedWeights | None
    scaler: Any
    position: Position
    history: History


def write_checkpoint(folder: Path, trained: Trained, recipe: Recipe, data: dict[str, Any]) -> None:
    """Write the state of a run, in place of the one before.

    Args:
        folder: Created where it does not exist.
        trained: The state.
        recipe: That is followed.
        data: What identifies the training set, as JSON.

    Raises:
        StorageError: The disk is full or not ours; the checkpoint before is untouched.
    """
    tensors = {f"model/{name}": value for name, value in trained.model.state_dict().items()}
    if trained.average is not None:
        tensors |= {f"average/{name}": value for name, value in trained.average.values.items()}
    own, numbers = optimizer_content(trained.optimizer)
    tensors |= {f"optimizer/{name}": value for name, value in own.items()}
    description = {
        "version": CHECKPOINT_VERSION,
        "recipe": recipe.to_dict(),
        "data": data,
        "position": vars(trained.position),
        "history": trained.history.to_dict(),
        "optimizer": numbers,
        "scaler": trained.scaler.state_dict(),
    }
    write_run(folder, tensors, description, trained.history.to_dict())


def read_checkpoint(folder: Path, trained: Trained, recipe: Recipe, data: dict[str, Any]) -> bool:
    """Give a run the state that :func:`write_checkpoint` saved.

    Args:
        folder: Where it may lie.
        trained: Changed in place, and only if everything fits.
        recipe: To be followed; it must be the one of the checkpoint.
        data: What identifies the training set; likewise.

    Returns:
        Whether there was a checkpoint.

    Raises:
        TrainingError: It is damaged or of another recipe, model or data set; says what differs.
    """
    found = read_run(folder, CHECKPOINT_VERSION, _PARTS)
    if found is None:
        return False
    tensors, description = found
    path = run_file(folder)
    require_same("recipe", description["recipe"], recipe.to_dict(), path)
    require_same("data", description["data"], data, path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    try:
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            parts[kind][name] = value
        own = trained.model.state_dict()
        require_same_tensors(parts["model"], own, path)
        if trained.average is not None:
            require_same_tensors(parts["average"], own, path)
        position = _position(description["position"])
        history = History.from_dict(description["history"])
        state = optimizer_state(parts["optimizer"], description["optimizer"])
        groups = trained.optimizer.state_dict()["param_groups"]
        trained.optimizer.load_state_dict({"state": state, "param_groups": groups})
        trained.scaler.load_state_dict(description["scaler"])
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise damaged(path) from error
    trained.model.load_state_dict(parts["model"])
    if trained.average is not None:
        for name, value in parts["average"].items():
            trained.average.values[name].copy_(value)
    trained.position = position
    trained.history = history
    return True


def _position(values: dict[str, Any]) -> Position:
    for key, value in values.items():
        kinds = (int,) if key in ("epoch", "step") else (int, float)
        if type(value) not in kinds or value < 0:
            raise ValueError(f"{key} is {value!r}")
    return Position(**values)
