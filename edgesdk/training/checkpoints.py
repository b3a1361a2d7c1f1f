"""Checkpoints: one safetensors file with JSON in its header, replaced in one step.

A reader meets the checkpoint before or the one after, whatever ends the writer. There are no states
of generators in it: every random number is a function of the seed and of where the run is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import TrainingError
from edgesdk.storage import storage_errors, write_atomically
from edgesdk.training.averaging import AveragedWeights
from edgesdk.training.history import History
from edgesdk.training.recipes import Recipe

__all__ = ["CHECKPOINT_VERSION", "Position", "Trained", "read_checkpoint", "write_checkpoint"]

#: Raised whenever a reader of the version before would misread a file.
CHECKPOINT_VERSION = 1

_FILE = "checkpoint.safetensors"
_HISTORY = "history.json"
_START_AFRESH = "choose another folder for the checkpoint, or start afresh with --no-resume"
_SHOWN = 4


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
    from safetensors.torch import save

    tensors = {f"model/{name}": value for name, value in trained.model.state_dict().items()}
    if trained.average is not None:
        tensors |= {f"average/{name}": value for name, value in trained.average.values.items()}
    numbers: dict[str, Any] = {}
    for index, state in trained.optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                numbers[f"{index}/{name}"] = value
    description = {
        "version": CHECKPOINT_VERSION,
        "recipe": recipe.to_dict(),
        "data": data,
        "position": vars(trained.position),
        "history": trained.history.to_dict(),
        "optimizer": numbers,
        "scaler": trained.scaler.state_dict(),
    }
    # Copies, because safetensors refuses weights that layers share.
    alone = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with storage_errors("cannot write", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f".{_FILE}.*.partial"):
        # Of a run that was killed while it wrote.
        leftover.unlink(missing_ok=True)
    write_atomically(folder / _FILE, save(alone, metadata={"run": json.dumps(description)}))
    readable = json.dumps(trained.history.to_dict(), indent=1)
    write_atomically(folder / _HISTORY, readable.encode())


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
    path = folder / _FILE
    if not path.exists():
        return False
    tensors, description = _content(path)
    _compare("recipe", description["recipe"], recipe.to_dict(), path)
    _compare("data", description["data"], data, path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    try:
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            parts[kind][name] = value
        own = trained.model.state_dict()
        _match(parts["model"], own, path)
        if trained.average is not None:
            _match(parts["average"], own, path)
        position = _position(description["position"])
        history = History.from_dict(description["history"])
        state = _optimizer_state(parts["optimizer"], description["optimizer"])
        groups = trained.optimizer.state_dict()["param_groups"]
        trained.optimizer.load_state_dict({"state": state, "param_groups": groups})
        trained.scaler.load_state_dict(description["scaler"])
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(path) from error
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


def _content(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})["run"])
            version = description["version"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            whole = all(
                isinstance(description[part], dict)
                for part in ("recipe", "data", "position", "history", "optimizer", "scaler")
            )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if not (type(version) is int and whole):
        raise _damaged(path)
    if version > CHECKPOINT_VERSION:
        raise TrainingError(
            f"{path} is of version {version}, this SDK reads up to {CHECKPOINT_VERSION}",
            remedy="pip install --upgrade edgesdk",
        )
    return tensors, description


def _damaged(path: Path) -> TrainingError:
    return TrainingError(f"{path} is damaged or no checkpoint", remedy=_START_AFRESH)


def _compare(what: str, saved: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    before, now = _flat(saved), _flat(wanted)
    odd = [
        f"{key} is {before.get(key)!r} there and {now.get(key)!r} here"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise TrainingError(
            f"the checkpoint {path} is of another {what}: {'; '.join(odd[:_SHOWN])}{more}",
            remedy=_START_AFRESH,
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def _match(saved: dict[str, Tensor], own: dict[str, Tensor], path: Path) -> None:
    def described(tensors: dict[str, Tensor]) -> dict[str, str]:
        return {name: f"{value.dtype} {tuple(value.shape)}" for name, value in tensors.items()}

    if described(saved) != described(own):
        _compare("model", dict(described(saved)), dict(described(own)), path)


def _optimizer_state(tensors: dict[str, Tensor], numbers: dict[str, Any]) -> dict[int, Any]:
    state: dict[int, Any] = {}
    for key, value in (*tensors.items(), *numbers.items()):
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    return state
