"""``NAME.edgemodel``: a model as JSON and safetensors, reloaded without pickle.

A folder of two files: ``model.json`` names the architecture and its configuration,
``weights.safetensors`` holds the tensors. The architecture is one of the zoo, so that reading the
file runs no code but our own.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import (
    MissingEnvironmentError,
    OutputExistsError,
    SourceError,
    SourceNotFoundError,
    StorageError,
    UsageError,
)
from edgesdk.weights import check_weights, load_weights

__all__ = ["MODEL_FILE_VERSION", "load_model", "save_model"]

#: Raised whenever a reader of the version before would misread a file.
MODEL_FILE_VERSION = 1

_MAX_JSON = 2**18


def save_model(model: nn.Module, architecture: str, path: Path, *, overwrite: bool = False) -> Path:
    """Write a zoo model.

    Args:
        model: Built by :func:`edgesdk.models.create`; its ``config`` is saved with it.
        architecture: Its zoo name.
        path: Folder to write, ``NAME.edgemodel``.
        overwrite: Whether an existing one may be replaced.

    Returns:
        The folder.

    Raises:
        UsageError: A model without a configuration.
        OutputExistsError: The folder is there, or what should be replaced is no saved model.
        StorageError: It cannot be written.
    """
    from safetensors.torch import save_file

    models.entry(architecture)
    config = getattr(model, "config", None)
    if not isinstance(config, dict):
        raise UsageError(
            f"{type(model).__name__} has no config to rebuild it from",
            remedy="build it with edgesdk.models.create(name, ...)",
        )
    if path.exists():
        if not overwrite:
            raise OutputExistsError(
                f"{path} exists", remedy="choose another name or pass overwrite=True"
            )
        if not (path / "model.json").is_file():
            raise OutputExistsError(
                f"{path} is no saved model, so it is not replaced", remedy="choose another name"
            )
    description = {
        "edgemodel": MODEL_FILE_VERSION,
        "architecture": architecture,
        "config": config,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            text = json.dumps(description, indent=1, sort_keys=True)
            (staging / "model.json").write_text(text + "\n", encoding="utf-8")
            # Copies, because safetensors refuses weights that layers share.
            tensors = {
                key: value.detach().contiguous().clone()
                for key, value in model.state_dict().items()
            }
            save_file(tensors, staging / "weights.safetensors")
            if path.exists():
                shutil.rmtree(path)
            staging.rename(path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", remedy="write to another place"
        ) from error
    return path


def load_model(path: Path) -> nn.Module:
    """Rebuild a model in evaluation mode.

    Raises:
        SourceNotFoundError: The folder or one of its files is missing.
        SourceError: A damaged description, a configuration nothing can be built from, or a newer
            version.
        UnknownNameError: No architecture of this name.
        WeightsError: Weights that do not match it.
    """
    text = path / "model.json"
    if not text.is_file():
        raise SourceNotFoundError(f"{path} holds no model.json", remedy="save the model again")
    if text.stat().st_size > _MAX_JSON:
        raise SourceError(f"{text} is too large for a description", remedy="save the model again")
    try:
        description: dict[str, Any] = json.loads(text.read_text(encoding="utf-8"))
        version, architecture, config = (
            description[key] for key in ("edgemodel", "architecture", "config")
        )
        whole = type(version) is int and version >= 1 and isinstance(architecture, str)
        if not (whole and isinstance(config, dict)):
            raise ValueError(f"{description}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(
            f"{text} is no description of a model", remedy="save the model again"
        ) from error
    if version > MODEL_FILE_VERSION:
        raise SourceError(
            f"{path.name} is of version {version}, this SDK reads up to {MODEL_FILE_VERSION}",
            remedy="pip install --upgrade edgesdk",
        )
    if "pretrained" in config:
        config["pretrained"] = False
    weights = path / "weights.safetensors"
    # Sizes are only believed once the weights have them: without storage first.
    with torch.device("meta"):
        check_weights(_build(architecture, config, text), weights)
    model = _build(architecture, config, text)
    load_weights(model, weights)
    return model.eval()


def _build(architecture: str, config: dict[str, Any], text: Path) -> nn.Module:
    models.entry(architecture)
    try:
        return models.create(architecture, **config)
    except MissingEnvironmentError:
        raise
    except Exception as error:
        raise SourceError(
            f"nothing can be built from the configuration of {architecture}: {error}",
            where=str(text),
            remedy="save the model again",
        ) from error
