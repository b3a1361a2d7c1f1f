"""Load weights from a file into a model without running code from the file."""

from __future__ import annotations

import pickle
import pickletools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import InputNotFoundError, UnsafeFileError, WeightsDamagedError, WeightsError
from edgesdk.frontend.source_files import check_weights_file

__all__ = ["check_weights", "load_state", "load_weights", "read_tensors"]

# Names that trainers and wrappers put before keys: DataParallel's module, Lightning's model or net.
_MOST_WRAPPERS = 3
# Keys under which training scripts save the weights.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "weights", "net")
_SHOWN = 8


def read_tensors(path: Path) -> Any:
    """Read a ``.pth``/``.pt`` file in the mode that accepts only tensors and plain containers.

    Raises:
        InputNotFoundError: The file does not exist.
        UnsafeFileError: The file pickles other objects; reading it could run code.
        WeightsDamagedError: The file is damaged.
    """
    if not path.is_file():
        raise InputNotFoundError(path)
    try:
        with warnings.catch_warnings():
            # Ignore warnings about unusual pickles; only exceptions matter.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # The reader checks little, so damage can raise any exception.
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path, str(error)):
            raise UnsafeFileError(
                f"{path.name} is a pickle of more than tensors, which may run code when it is read",
                remedy="save only the tensors: safetensors.torch.save_file(model.state_dict(), "
                "'weights.safetensors')",
            ) from error
        raise _damaged(path, error) from error


def _is_pickle(path: Path, message: str) -> bool:
    """Return True if a refused file is a complete pickle, False if it is a damaged weight file."""
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                # torch.save never writes an unsupported instruction into an archive: damage.
                return "Unsupported operand" not in message
            file.seek(0)
            # This lists the instructions and runs none.
            for _ in pickletools.genops(file):
                continue
            return True
    except (ValueError, OSError):
        return False


def _damaged(path: Path, error: Exception) -> WeightsDamagedError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, pickle.UnpicklingError) or not lines:
        # torch's message advises reading the file without the safe reader.
        message = "its content cannot be read"
    else:
        message = lines[0][:200]
    return WeightsDamagedError(
        f"{path.name} is damaged or does not hold weights: {message}",
        remedy="save it again, preferably as safetensors",
    )


def _state_dict(path: Path) -> dict[str, Tensor]:
    check_weights_file(path)
    if path.is_dir():
        raise InputNotFoundError(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from error
    found = read_tensors(path)
    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
            break
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(
            f"{path.name} does not hold a state dictionary of tensors",
            remedy="save model.state_dict()",
        )
    return {str(key): value for key, value in found.items()}


def _unwrapped(
    given: dict[str, Tensor], wanted: Mapping[str, object]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Take the model's weights out of those of a wrapper or trainer.

    Returns:
        The weights without the prefix under which most of the model's keys are, and notes on the
        prefix and on what lies beside it.
    """
    prefixes = {""}
    for key in given:
        parts = key.split(".")[:-1][:_MOST_WRAPPERS]
        prefixes |= {".".join(parts[:count]) + "." for count in range(1, len(parts) + 1)}
    matched = {
        prefix: sum(f"{prefix}{key}" in given for key in wanted) for prefix in sorted(prefixes)
    }
    # The first of several is the shortest, and the plain keys come before all others.
    prefix = max(sorted(matched, key=len), key=lambda one: matched[one])
    if not prefix:
        return given, ()
    inside = {
        key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)
    }
    notes = [f"weights: the prefix {prefix!r} of the keys was removed"]
    beside = sorted(key for key in given if not key.startswith(prefix))
    if beside:
        more = f" and {len(beside) - _SHOWN} more" if len(beside) > _SHOWN else ""
        notes.append(f"weights: left out, not the model's: {', '.join(beside[:_SHOWN])}{more}")
    return inside, tuple(notes)


def _listed(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"\n  {kind}: {', '.join(keys[:_SHOWN])}{more}" if keys else ""


def load_weights(model: nn.Module, path: Path) -> tuple[str, ...]:
    """Load weights into a model; every key and every shape must match.

    A prefix of wrappers and trainers (``module.``, ``model.``) is removed from the keys, and what
    lies beside it is left out.

    Args:
        model: The model, changed in place only if everything fits.
        path: ``.safetensors``, or ``.pth``, ``.pt`` or ``.ckpt``, read with ``weights_only=True``.

    Returns:
        Notes on changes to the keys.

    Raises:
        InputNotFoundError: The file does not exist.
        UnsafeFileError: The file is a pickle that would run code.
        WeightsDamagedError: The file is damaged.
        WeightsError: The file is a model of another kind; or keys or shapes do not match the
            model; the message lists them.
    """
    return load_state(model, _state_dict(path), path.name)


def load_state(model: nn.Module, state: dict[str, Tensor], name: str) -> tuple[str, ...]:
    """Load a state dictionary into a model, as :func:`load_weights` does.

    Args:
        model: The model, changed in place only if everything fits.
        state: Tensors by key.
        name: Name of the file it comes from, for messages.

    Raises:
        WeightsError: Keys or shapes do not match the model; the message lists them.
    """
    given, notes = _matching(model, state, name)
    model.load_state_dict({**model.state_dict(), **given})
    return notes


def check_weights(model: nn.Module, path: Path) -> None:
    """Check that weights match a model without changing it; it may be on the meta device.

    Raises:
        EdgeSdkError: See :func:`load_weights`.
    """
    _matching(model, _state_dict(path), path.name)


def _matching(
    model: nn.Module, state: dict[str, Tensor], name: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    wanted = model.state_dict()
    given, notes = _unwrapped(state, wanted)
    missing = sorted(
        key for key in set(wanted) - set(given) if not key.endswith("num_batches_tracked")
    )
    unknown = sorted(set(given) - set(wanted))
    shapes = [
        f"{key} is {tuple(given[key].shape)}, the model has {tuple(wanted[key].shape)}"
        for key in sorted(set(given) & set(wanted))
        if given[key].shape != wanted[key].shape
    ]
    shapes += [
        f"{key} is not a plain dense tensor"
        for key in sorted(set(given) & set(wanted))
        if given[key].is_meta or given[key].is_quantized or given[key].layout != torch.strided
    ]
    if missing or unknown or shapes:
        raise WeightsError(
            f"the weights in {name} do not match the model"
            + _listed("missing", missing)
            + _listed("not in the model", unknown)
            + _listed("other shape", shapes),
            remedy="build the model with the configuration it was trained with",
        )
    return given, notes
