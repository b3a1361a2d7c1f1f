"""``NAME.edgemodel``: a model as JSON and tensors, reloaded without pickle and without its code.

A folder of two files. ``model.json`` names the architecture, the signature and the pruned channels.
The other file holds the weights: ``weights.safetensors`` for an architecture of the zoo, which the
SDK builds again, or ``program.pt2`` for any other model, which is checked operator by operator
before it is loaded (see :mod:`edgesdk.frontend.pt2.reader`).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import (
    EdgeSdkError,
    MissingEnvironmentError,
    OutputExistsError,
    SourceDamagedError,
    SourceError,
    SourceNotFoundError,
    StorageError,
    UnsafeFileError,
    UsageError,
    WeightsDamagedError,
)
from edgesdk.frontend.edgemodel.description import (
    MODEL_FILE_VERSION,
    PROGRAM_NAME,
    WEIGHTS_NAME,
    ModelDescription,
    ModelSignature,
    read_description,
)
from edgesdk.frontend.edgemodel.program import capture_model, write_model_program
from edgesdk.frontend.pt2.reader import load_program
from edgesdk.frontend.pt2.style_names import check_program_styles, program_module
from edgesdk.frontend.random_inputs import random_inputs
from edgesdk.frontend.tensor_specs import torch_dtype
from edgesdk.frontend.weights import check_weights, load_weights
from edgesdk.host.atomic_write import partial_beside
from edgesdk.host.digest import digest
from edgesdk.style_names import model_style_names

__all__ = [
    "MODEL_FILE_VERSION",
    "ModelFile",
    "ModelSignature",
    "load_model",
    "read_model_file",
    "save_model",
]

_DESCRIPTION_NAME = "model.json"


@dataclass(frozen=True)
class ModelFile:
    """Content of an ``.edgemodel``.

    Attributes:
        model: Model in evaluation mode; a program has ``style_names`` if they were saved.
        architecture: Zoo name; None for a captured program.
        config: Configuration of the architecture; None for a captured program.
        signature: Inputs, preprocessing and classes, if saved.
        pruning: Channels removed per layer, if saved.
        example: Example arguments a program was captured with; else None.
    """

    model: nn.Module
    architecture: str | None = None
    config: dict[str, Any] | None = None
    signature: ModelSignature | None = None
    pruning: dict[str, Any] | None = None
    example: Any = None


def save_model(
    model: nn.Module,
    architecture: str | None,
    path: Path,
    *,
    example: Any = None,
    signature: ModelSignature | None = None,
    pruning: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model.

    Args:
        model: A zoo model built by :func:`edgesdk.models.create` is saved with its ``config``. Any
            other model is captured in evaluation mode and saved with its ``style_names``, if any.
        architecture: Zoo name; None for a model of any other class.
        path: Folder to write, ``NAME.edgemodel``.
        example: Example arguments to capture with: a tensor, a tuple of positional or a dictionary
            of keyword arguments. Default: random inputs that fit the signature.
        signature: Inputs, preprocessing and classes.
        pruning: Channels removed per layer, as any JSON object.
        overwrite: Replace an existing ``.edgemodel``.

    Returns:
        The folder.

    Raises:
        UsageError: The configuration or the example is missing, a record is not JSON, or
            ``style_names`` do not fit the model.
        CaptureError: ``torch.export`` cannot trace the model.
        OutputExistsError: The folder exists, or is not a saved model that could be replaced.
        StorageError: The folder cannot be written.
    """
    config = _config(model, architecture) if architecture is not None else None
    # Check the description first: saving takes time.
    styles = model_style_names(model) if architecture is None else ()
    ModelDescription(architecture, config, signature, pruning, styles=styles).text()
    if path.exists():
        if not overwrite:
            raise OutputExistsError(
                f"{path} exists", remedy="choose another name or pass overwrite=True"
            )
        if not (path / _DESCRIPTION_NAME).is_file():
            raise OutputExistsError(
                f"{path} is not a saved model, so it is not replaced", remedy="choose another name"
            )
    program = None
    if architecture is None:
        program = capture_model(model, _example(example, signature))
        check_program_styles(program, styles)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not a folder of tempfile: nobody else could read that.
        staging = partial_beside(path)
        staging.mkdir()
        try:
            if program is None:
                content = staging / WEIGHTS_NAME
                _write_weights(model, content)
            else:
                content = staging / PROGRAM_NAME
                write_model_program(program, content)
            described = ModelDescription(
                architecture,
                config,
                signature,
                pruning,
                {content.name: digest(content)},
                styles=styles,
            )
            (staging / _DESCRIPTION_NAME).write_text(described.text(), encoding="utf-8")
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


def _config(model: nn.Module, architecture: str) -> dict[str, Any]:
    models.entry(architecture)
    config = getattr(model, "config", None)
    if not isinstance(config, dict):
        raise UsageError(
            f"{type(model).__name__} has no config to rebuild it from",
            remedy="build it with edgesdk.models.create(name, ...), or save it as a program: "
            "save_model(model, None, path, example=inputs)",
        )
    return config


def _example(example: Any, signature: ModelSignature | None) -> Any:
    if example is not None:
        return example
    if signature is None or not signature.inputs:
        raise UsageError(
            "a model from outside the zoo is saved as a program, which needs an example",
            remedy="pass example=inputs, or a signature with inputs",
        )
    arrays = random_inputs(signature.inputs, seed=0)
    return tuple(
        torch.from_numpy(arrays[spec.name]).to(torch_dtype(spec.dtype)) for spec in signature.inputs
    )


def _write_weights(model: nn.Module, path: Path) -> None:
    from safetensors.torch import save

    # safetensors refuses weights that layers share, so copy them.
    tensors = {
        key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()
    }
    # save_file makes files that only their owner can read.
    path.write_bytes(save(tensors))


def load_model(path: Path) -> nn.Module:
    """Rebuild a model in evaluation mode.

    Raises:
        EdgeSdkError: See :func:`read_model_file`.
    """
    return read_model_file(path).model


def read_model_file(path: Path) -> ModelFile:
    """Read an ``.edgemodel`` of this version or an older one, as untrusted input.

    Args:
        path: The folder.

    Raises:
        SourceNotFoundError: The folder or one of its files is missing.
        SourceDamagedError: The description or the program is damaged.
        SourceError: The configuration builds no model, the style names do not fit the program, or
            the file is of a newer version.
        UnknownNameError: The zoo has no such architecture.
        UnsafeFileError: The program would run code, or a file is a link out of the folder.
        WeightsDamagedError: The weights are damaged.
        WeightsError: The weights do not match the architecture.
    """
    text = _inside(path, _DESCRIPTION_NAME)
    description = read_description(text)
    if description.architecture is None or description.config is None:
        program = load_program(_whole(path, PROGRAM_NAME, description))
        args, kwargs = program.example_inputs or ((), {})
        module = program_module(program, description.styles, path)
        return ModelFile(
            module, None, None, description.signature, description.pruning, kwargs or args or None
        )
    config = dict(description.config)
    if "pretrained" in {**models.entry(description.architecture).config, **config}:
        # The weights are in the file, so do not load those of the zoo.
        config["pretrained"] = False
    weights = _whole(path, WEIGHTS_NAME, description)
    # Check sizes without storage first: the configuration could claim any size.
    with torch.device("meta"):
        check_weights(_build(description.architecture, config, text), weights)
    model = _build(description.architecture, config, text)
    load_weights(model, weights)
    return ModelFile(
        model.eval(),
        description.architecture,
        description.config,
        description.signature,
        description.pruning,
    )


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file of the folder; refuse a link that leads out of it."""
    file = folder / name
    try:
        outside = file.is_symlink() and file.resolve().parent != folder.resolve()
    except (OSError, RuntimeError) as error:
        raise SourceNotFoundError(
            f"{file} is a broken link", remedy="save the model again"
        ) from error
    if outside and file.is_file():
        raise UnsafeFileError(
            f"{file} is a link to a file outside the saved model",
            remedy="copy the files themselves into the folder",
        )
    return file


def _whole(folder: Path, name: str, description: ModelDescription) -> Path:
    """Return the path of a file whose digest is the one in the description."""
    file = _inside(folder, name)
    if not file.is_file():
        raise SourceNotFoundError(f"no file {file}", remedy="save the model again")
    if description.version == 1:
        return file
    try:
        found = digest(file)
    except EdgeSdkError as error:
        raise SourceDamagedError(f"{file} cannot be read: {error.message}") from error
    if found != description.sha256[name]:
        kind = WeightsDamagedError if name == WEIGHTS_NAME else SourceDamagedError
        raise kind(
            f"{file} is damaged or of another model: its digest differs from model.json",
            remedy="copy the whole folder again, or save the model again",
        )
    return file


def _build(architecture: str, config: dict[str, Any], text: Path) -> nn.Module:
    try:
        return models.create(architecture, **config)
    except MissingEnvironmentError:
        raise
    except Exception as error:
        raise SourceError(
            f"cannot build {architecture} from its configuration: {error}",
            where=str(text),
            remedy="save the model again",
        ) from error
