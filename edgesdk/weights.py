"""Weights from a file into a model, without running anything that is in the file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import SourceNotFoundError, UnsafeFileError, WeightsError

__all__ = ["load_weights", "read_tensors"]

# Where training scripts put the weights inside what they save.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "weights", "net")
_SHOWN = 8


def read_tensors(path: Path) -> Any:
    """Read a ``.pth``/``.pt`` file in the mode that only knows tensors and plain containers.

    Raises:
        SourceNotFoundError: No such file.
        UnsafeFileError: Reading it in full would run code.
        WeightsError: A damaged file.
    """
    if not path.is_file():
        raise SourceNotFoundError(f"no file {path}", remedy="check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "weights_only" in str(error).lower():
            raise UnsafeFileError(
                f"{path.name} is a pickle that wants to run code, not a file of weights",
                remedy="save only the tensors: safetensors.torch.save_file(model.state_dict(), "
                "'weights.safetensors')",
            ) from error
        raise _damaged(path, error) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path.name} is damaged or holds no weights: {str(error).splitlines()[0][:200]}",
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
    # Models trained on several GPUs carry the wrapper's prefix on every key.
    if found and all(str(key).startswith("module.") for key in found):
        return {str(key).removeprefix("module."): value for key, value in found.items()}
    return {str(key): value for key, value in found.items()}


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
        WeightsError: A damaged file, or keys and shapes that do not match (they are listed).
    """
    given = _state_dict(path)
    wanted = model.state_dict()
    missing = sorted(
        key for key in set(wanted) - set(given) if not key.endswith("num_batches_tracked")
    )
    unknown = sorted(set(given) - set(wanted))
    shapes = [
        f"{key} is {tuple(given[key].shape)}, the model has {tuple(wanted[key].shape)}"
        for key in sorted(set(given) & set(wanted))
        if given[key].shape != wanted[key].shape
    ]
    if missing or unknown or shapes:
        raise WeightsError(
            f"the weights in {path.name} do not match the model"
            + _listed("missing", missing)
            + _listed("not in the model", unknown)
            + _listed("other shape", shapes),
            remedy="build the model with the configuration it was trained with",
        )
    model.load_state_dict({**wanted, **given})
