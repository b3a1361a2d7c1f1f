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

__all__ = ["check_weights", "load_weights", "read_tensors"]

# Prefixes that model wrappers add to every key: DataParallel, torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
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
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not path.is_file():
            raise InputNotFoundError(path)
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


def _unwrapped(given: dict[str, Tensor], wanted: Mapping[str, object]) -> dict[str, Tensor]:
    """Remove a wrapper's prefix from the keys, unless the model itself has it."""
    for prefix in _PREFIXES:
        if (
            given
            and all(key.startswith(prefix) for key in given)
            and not all(key.startswith(prefix) for key in wanted)
        ):
            bare = {key.removeprefix(prefix): value for key, value in given.items()}
            return _unwrapped(bare, wanted)
    return given


def _listed(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"\n  {kind}: {', '.join(keys[:_SHOWN])}{more}" if keys else ""


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a model; every key and every shape must match.

    Args:
        model: The model, changed in place only if everything fits.
        path: ``.safetensors``, or ``.pth``/``.pt`` read with ``weights_only=True``.

    Raises:
        InputNotFoundError: The file does not exist.
        UnsafeFileError: The file is a pickle that would run code.
        WeightsDamagedError: The file is damaged.
        WeightsError: Keys or shapes do not match the model; the message lists them.
    """
    given = _matching(model, path)
    model.load_state_dict({**model.state_dict(), **given})


def check_weights(model: nn.Module, path: Path) -> None:
    """Check that weights match a model without changing it; it may be on the meta device.

    Raises:
        EdgeSdkError: See :func:`load_weights`.
    """
    _matching(model, path)


def _matching(model: nn.Module, path: Path) -> dict[str, Tensor]:
    wanted = model.state_dict()
    given = _unwrapped(_state_dict(path), wanted)
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
            f"the weights in {path.name} do not match the model"
            + _listed("missing", missing)
            + _listed("not in the model", unknown)
            + _listed("other shape", shapes),
            remedy="build the model with the configuration it was trained with",
        )
    return given
