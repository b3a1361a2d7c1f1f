"""Checkpoints of stylizers, and of what enlarges their paintings, in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from edgesdk.training.settings import Settings
from edgesdk.training.style.history import StyleHistory

__all__ = ["CHECKPOINT_VERSION", "StyleState", "read_checkpoint", "write_checkpoint"]

#: Raised whenever a reader of the version before would misread a file.
CHECKPOINT_VERSION = 1

_PARTS = ("recipe", "data", "position", "history", "optimizer", "scaler")


@dataclass
class StyleState:
    """What changes as a stylizer is trained.

    Attributes:
        model: Its weights.
        optimizer: Its state.
        scaler: Of the gradients of fp16; by default one that does nothing.
        history: Its records.
        step: Steps done.
        losses: Sum of each part over the pictures since the last record.
        pictures: How many these are.
        seconds: That they have taken.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: Any = field(default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False))
    history: StyleHistory = field(default_factory=StyleHistory)
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    pictures: int = 0
    seconds: float = 0.0

    def count(self, losses: Mapping[str, float], pictures: int, seconds: float) -> None:
        """Add what a step has shown: sums over its pictures."""
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value
        self.pictures += pictures
        self.seconds += seconds

    def begin_record(self) -> None:
        """Forget what has been recorded."""
        self.losses, self.pictures, self.seconds = {}, 0, 0.0


def write_checkpoint(
    folder: Path, state: StyleState, recipe: Settings, identity: dict[str, Any]
) -> None:
    """Write the state of a run, in place of the one before.

    Args:
        folder: Created where it does not exist.
        state: Of the run.
        recipe: That is followed.
        identity: What identifies photographs, paintings and network, as JSON values.

    Raises:
        StorageError: The disk is full or not ours; the checkpoint before is untouched.
    """
    tensors = {f"model/{name}": value for name, value in state.model.state_dict().items()}
    own, numbers = optimizer_content(state.optimizer)
    tensors |= {f"optimizer/{name}": value for name, value in own.items()}
    description = {
        "version": CHECKPOINT_VERSION,
        "recipe": recipe.to_dict(),
        "data": identity,
        "position": {
            "step": state.step,
            "losses": state.losses,
            "pictures": state.pictures,
            "seconds": state.seconds,
        },
        "history": state.history.to_dict(),
        "optimizer": numbers,
        "scaler": state.scaler.state_dict(),
    }
    write_run(folder, tensors, description, state.history.to_dict())


def read_checkpoint(
    folder: Path, state: StyleState, recipe: Settings, identity: dict[str, Any]
) -> bool:
    """Give a run the state that :func:`write_checkpoint` saved.

    Args:
        folder: Where it may lie.
        state: Changed in place, and only if everything fits.
        recipe: To be followed; it must be the one of the checkpoint.
        identity: Likewise.

    Returns:
        Whether there was a checkpoint.

    Raises:
        TrainingError: It is damaged or of another run; says what differs.
    """
    found = read_run(folder, CHECKPOINT_VERSION, _PARTS)
    if found is None:
        return False
    tensors, description = found
    path = run_file(folder)
    require_same("recipe", description["recipe"], recipe.to_dict(), path)
    require_same("data", description["data"], identity, path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
    try:
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            parts[kind][name] = value
        require_same_tensors(parts["model"], state.model.state_dict(), path)
        step, losses, pictures, seconds = _position(description["position"])
        history = StyleHistory.from_dict(description["history"])
        groups = state.optimizer.state_dict()["param_groups"]
        kept = optimizer_state(parts["optimizer"], description["optimizer"])
        state.optimizer.load_state_dict({"state": kept, "param_groups": groups})
        state.scaler.load_state_dict(description["scaler"])
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise damaged(path) from error
    state.model.load_state_dict(parts["model"])
    state.history = history
    state.step, state.losses, state.pictures, state.seconds = step, losses, pictures, seconds
    return True


def _position(values: dict[str, Any]) -> tuple[int, dict[str, float], int, float]:
    step, pictures = values["step"], values["pictures"]
    if type(step) is not int or type(pictures) is not int or min(step, pictures) < 0:
        raise ValueError(f"step {step!r}, pictures {pictures!r}")
    losses = {str(name): float(value) for name, value in values["losses"].items()}
    return step, losses, pictures, float(values["seconds"])
