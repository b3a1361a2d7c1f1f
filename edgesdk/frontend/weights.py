"""Weights from a file into a model, without running anything that is in the file."""

from __future__ import annotations

import pickle
import pickletools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import (
    SourceNotFoundError,
    UnsafeFileError,
    WeightsDamagedError,
    WeightsError,
)

__all__ = ["check_weights", "load_weights", "read_tensors"]

# What wrappers of models put before every key: several GPUs, torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
# Where training scripts put the weights inside what they save.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "weights", "net")
_SHOWN = 8


def read_tensors(path: Path) -> Any:
    """Read a ``.pth``/``.pt`` file in the mode that only knows tensors and plain containers.

    Raises:
        SourceNotFoundError: No such file.
        UnsafeFileError: A pickle of other things; reading it in full could run code.
        WeightsDamagedError: The file is damaged.
    """
    if not path.is_file():
        raise SourceNotFoundError(f"no file {path}", remedy="check the path")
    try:
        with warnings.catch_warnings():
            # Of pickles in an unusual form; what matters is an exception.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damage shows in any exception, as the reader checks little of what it reads.
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path, str(error)):
            raise UnsafeFileError(
                f"{path.name} is a pickle of more than tensors, which may run code when it is read",
                remedy="save only the tensors: safetensors.torch.save_file(model.state_dict(), "
                "'weights.safetensors')",
            ) from error
        raise _damaged(path, error) from error


def _is_pickle(path: Path, said: str) -> bool:
    """Whether a refused file is a whole pickle, and not a damaged file of weights."""
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                # In an archive of torch.save, an instruction nobody writes there is damage.
                return "Unsupported operand" not in said
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
        # Torch's advice here is to read the file without its safe reader.
        said = "its content cannot be read"
    else:
        said = lines[0][:200]
    return WeightsDamagedError(
        f"{path.name} is damaged or holds no weights: {said}",
        remedy="save it again, best as safetensors",
    )


def _state_dict(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not path.is_file():
            raise SourceNotFoundError(f"no file {path}", remedy="check the path")
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
            f"{path.name} holds no state dictionary of tensors",
            remedy="save model.state_dict()",
        )
    return {str(key): value for key, value in found.items()}


def _unwrapped(given: dict[str, Tensor], wanted: Mapping[str, object]) -> dict[str, Tensor]:
    """The weights without the prefix of a wrapper, unless the model itself has such names."""
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
        model: Changed in place, and only if everything fits.
        path: ``.safetensors``, or ``.pth``/``.pt`` read with ``weights_only=True``.

    Raises:
        SourceNotFoundError: No such file.
        UnsafeFileError: A pickle that would run code.
        WeightsDamagedError: The file is damaged.
        WeightsError: Keys or shapes do not match the model; the message lists them.
    """
    given = _matching(model, path)
    model.load_state_dict({**model.state_dict(), **given})


def check_weights(model: nn.Module, path: Path) -> None:
    """Check that weights match a model, which stays as it is and may lie on the meta device.

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
        f"{key} holds no plain numbers"
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
