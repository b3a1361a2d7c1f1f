"""The state of a training run and its checkpoint: one safetensors file, replaced atomically.

A reader finds either the previous checkpoint or the new one, however the writer ends. Checkpoints
hold no generator states: every random number is a function of the seed and the step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import CheckpointError, TrainingError
from edgesdk.host.atomic_write import storage_errors, write_atomically
from edgesdk.training.ema import AveragedWeights
from edgesdk.training.history import Position, RunHistory

__all__ = ["RunState", "checkpoint_path", "read_checkpoint", "read_file", "write_checkpoint"]

# Raised when readers of the previous version would misread a file. Older files are refused.
_VERSION = 2

_FILE = "checkpoint.safetensors"
_HISTORY = "history.json"
_PARTS = ("recipe", "data", "position", "history", "optimizer", "scaler", "task")
_AFRESH = "start afresh with --no-resume"
_SHOWN = 4


@dataclass
class RunState:
    """Everything that changes during training.

    Attributes:
        model: Model with its weights and buffers.
        optimizer: Optimizer with its state, such as momentum.
        scaler: Gradient scaler of fp16.
        average: Averaged weights, or None.
        history: Records so far.
        position: Progress of the run.
        task: State of the task itself as JSON values, such as the stage it has reached.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: Any
    average: AveragedWeights | None
    history: RunHistory
    position: Position = field(default_factory=Position)
    task: dict[str, Any] = field(default_factory=dict)


def checkpoint_path(folder: Path) -> Path:
    """Return the path of the checkpoint in its folder."""
    return folder / _FILE


def write_checkpoint(
    folder: Path, state: RunState, recipe: dict[str, Any], data: dict[str, Any]
) -> None:
    """Replace the checkpoint in a folder, and write its history as JSON beside it.

    Args:
        folder: Folder of the checkpoint; created if it does not exist.
        state: State of the run.
        recipe: Recipe of the run, as JSON values.
        data: Identity of the run's data, as JSON values.

    Raises:
        StorageError: The disk is full or the folder is not writable; the previous checkpoint is
            untouched.
    """
    from safetensors.torch import save

    entries = state.optimizer.state_dict()["state"]
    kept = {f"{index}/{name}": one for index, each in entries.items() for name, one in each.items()}
    average = {} if state.average is None else state.average.values
    parts = {"model": state.model.state_dict(), "average": average, "optimizer": kept}
    # Copies, because safetensors refuses weights that layers share.
    tensors = {
        f"{part}/{name}": value.detach().cpu().contiguous().clone()
        for part, values in parts.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    description = {
        "version": _VERSION,
        "recipe": recipe,
        "data": data,
        "position": vars(state.position),
        "history": state.history.to_dict(),
        "optimizer": {name: one for name, one in kept.items() if not isinstance(one, Tensor)},
        "scaler": state.scaler.state_dict(),
        "task": state.task,
    }
    with storage_errors("cannot write", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f".{_FILE}.*.partial"):
        # From a run that was killed while writing.
        leftover.unlink(missing_ok=True)
    write_atomically(folder / _FILE, save(tensors, metadata={"run": json.dumps(description)}))
    write_atomically(folder / _HISTORY, json.dumps(description["history"], indent=1).encode())


def read_checkpoint(
    folder: Path, state: RunState, recipe: dict[str, Any], data: dict[str, Any]
) -> None:
    """Load the checkpoint in a folder, if there is one.

    Args:
        folder: Folder of the checkpoint.
        state: Changed in place, and only if everything fits.
        recipe: Recipe of this run; it must equal the checkpoint's.
        data: Identity of this run's data; likewise.

    Raises:
        CheckpointError: The checkpoint is damaged, or has an older format.
        TrainingError: It belongs to another recipe, model or data set, or has a newer format; the
            message says which values differ.
    """
    found = read_file(folder)
    if found is None:
        return
    tensors, description = found
    path = checkpoint_path(folder)
    _require_same("recipe", description["recipe"], recipe, path)
    _require_same("data", description["data"], data, path)
    parts: dict[str, dict[str, Any]] = {"model": {}, "average": {}, "optimizer": {}}
    try:
        for key, value in tensors.items():
            part, _, name = key.partition("/")
            parts[part][name] = value
        own = _described(state.model.state_dict())
        _require_same("model", _described(parts["model"]), own, path)
        if state.average is not None:
            _require_same("model", _described(parts["average"]), own, path)
        position = Position(**description["position"])
        numbers = (position.step, position.samples, position.seconds)
        if type(position.step) is not int or min(numbers) < 0:
            raise ValueError(f"position {position}")
        position.sums = {name: float(value) for name, value in position.sums.items()}
        history = type(state.history).from_dict(description["history"])
        kept: dict[int, Any] = {}
        for key, value in {**parts["optimizer"], **description["optimizer"]}.items():
            index, _, name = key.partition("/")
            kept.setdefault(int(index), {})[name] = value
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": kept, "param_groups": groups})
        state.scaler.load_state_dict(description["scaler"])
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(path) from error
    state.model.load_state_dict(parts["model"])
    if state.average is not None:
        for name, value in parts["average"].items():
            state.average.values[name].copy_(value)
    state.position, state.history, state.task = position, history, description["task"]


def read_file(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the tensors, by name, and the description of the checkpoint in a folder.

    Returns:
        None if the folder holds no checkpoint.

    Raises:
        CheckpointError: The file is damaged, or has an older format.
        TrainingError: The file has a newer format.
    """
    from safetensors import SafetensorError, safe_open

    path = checkpoint_path(folder)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})["run"])
            version = description["version"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        whole = all(isinstance(description.get(part), dict) for part in _PARTS)
        if type(version) is not int or (version == _VERSION and not whole):
            raise ValueError(f"checkpoint of version {version!r}")
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if version < _VERSION:
        raise CheckpointError(
            f"the checkpoint {path} has format {version}, an older one that this version of "
            "edgesdk no longer reads",
            remedy=f"finish the training with the version of edgesdk that wrote it, or {_AFRESH}",
        )
    if version > _VERSION:
        raise TrainingError(
            f"the checkpoint {path} has format {version}, a newer one than this version of edgesdk "
            f"reads ({_VERSION})",
            remedy="pip install --upgrade edgesdk",
        )
    return tensors, description


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged or not a checkpoint", remedy=_AFRESH)


def _require_same(part: str, saved: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """Refuse the checkpoint of a run whose recipe, data or model differs."""
    before, now = _flat(saved), _flat(wanted)
    differences = [
        f"{key} is {before.get(key)!r} there and {now.get(key)!r} here"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if differences:
        more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise TrainingError(
            f"the checkpoint {path} is of another {part}: {'; '.join(differences[:_SHOWN])}{more}",
            remedy=f"choose another folder for the checkpoint, or {_AFRESH}",
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def _described(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: f"{value.dtype} {tuple(value.shape)}" for name, value in tensors.items()}
