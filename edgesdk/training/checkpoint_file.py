"""The file of a checkpoint: tensors and JSON in one safetensors file, replaced in one step.

A reader meets the file before or the one after, whatever ends the writer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgesdk.errors import TrainingError
from edgesdk.host.atomic_write import storage_errors, write_atomically

__all__ = [
    "damaged",
    "optimizer_content",
    "optimizer_state",
    "read_run",
    "require_same",
    "require_same_tensors",
    "run_file",
    "write_run",
]

_FILE = "checkpoint.safetensors"
_HISTORY = "history.json"
_START_AFRESH = "choose another folder for the checkpoint, or start afresh with --no-resume"
_SHOWN = 4


def run_file(folder: Path) -> Path:
    """Where a run's checkpoint lies in its folder."""
    return folder / _FILE


def write_run(
    folder: Path,
    tensors: Mapping[str, Tensor],
    description: Mapping[str, Any],
    history: Mapping[str, Any],
) -> None:
    """Write a checkpoint in place of the one before, and the history once more for people.

    Args:
        folder: Created where it does not exist.
        tensors: By name.
        description: Everything else, as JSON values, with its ``version``.
        history: Likewise.

    Raises:
        StorageError: The disk is full or not ours; the checkpoint before is untouched.
    """
    from safetensors.torch import save

    # Copies, because safetensors refuses weights that layers share.
    alone = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with storage_errors("cannot write", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f".{_FILE}.*.partial"):
        # Of a run that was killed while it wrote.
        leftover.unlink(missing_ok=True)
    write_atomically(folder / _FILE, save(alone, metadata={"run": json.dumps(description)}))
    write_atomically(folder / _HISTORY, json.dumps(history, indent=1).encode())


def read_run(
    folder: Path, version: int, parts: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what :func:`write_run` wrote; None where there is nothing.

    Args:
        folder: Of the checkpoint.
        version: The newest that the caller reads.
        parts: Keys of the description that must be there and hold objects.

    Raises:
        TrainingError: It is damaged, or of a later version.
    """
    from safetensors import SafetensorError, safe_open

    path = run_file(folder)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})["run"])
            found = description["version"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            whole = all(isinstance(description[part], dict) for part in parts)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise damaged(path) from error
    if not (type(found) is int and whole):
        raise damaged(path)
    if found > version:
        raise TrainingError(
            f"{path} is of version {found}, this SDK reads up to {version}",
            remedy="pip install --upgrade edgesdk",
        )
    return tensors, description


def damaged(path: Path) -> TrainingError:
    """The error of a file that is no checkpoint."""
    return TrainingError(f"{path} is damaged or no checkpoint", remedy=_START_AFRESH)


def require_same(what: str, saved: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint of another run.

    Args:
        what: Of the run is compared, such as ``recipe``.
        saved: As the checkpoint has it.
        wanted: As this run has it.
        path: Of the checkpoint.

    Raises:
        TrainingError: They differ; says where.
    """
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


def require_same_tensors(saved: dict[str, Tensor], own: dict[str, Tensor], path: Path) -> None:
    """Refuse the weights of another model.

    Raises:
        TrainingError: Names, types or shapes differ.
    """

    def described(tensors: dict[str, Tensor]) -> dict[str, str]:
        return {name: f"{value.dtype} {tuple(value.shape)}" for name, value in tensors.items()}

    if described(saved) != described(own):
        require_same("model", dict(described(saved)), dict(described(own)), path)


def optimizer_content(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of an optimizer, as tensors and as JSON values by name."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{name}"] = value
            else:
                numbers[f"{index}/{name}"] = value
    return tensors, numbers


def optimizer_state(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> dict[int, Any]:
    """What :func:`optimizer_content` took apart.

    Raises:
        ValueError: A name of another form.
    """
    state: dict[int, Any] = {}
    for key, value in (*tensors.items(), *numbers.items()):
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    return state
