"""``NAME.edgemodel``: a model as JSON and tensors, reloaded without pickle and without its code.

A folder of two files. ``model.json`` says what the model is, how it is fed and what was removed
from it. The other holds the weights: ``weights.safetensors`` of an architecture of the zoo, which
our own code builds again, or ``program.pt2`` of any other model, which is checked operator by
operator before it is loaded (see :mod:`edgesdk.frontend.pt2.reader`).
"""

from __future__ import annotations

import shutil
import tempfile
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
from edgesdk.host.digest import digest
from edgesdk.style_names import model_style_names

__all__ = [
    "MODEL_FILE_VERSION",
    "ModelSignature",
    "ModelFile",
    "load_model",
    "read_model_file",
    "save_model",
]

_DESCRIPTION_NAME = "model.json"


@dataclass(frozen=True)
class ModelFile:
    """What an ``.edgemodel`` holds.

    Attributes:
        model: In evaluation mode; that of a program has ``style_names`` where they were saved.
        architecture: Its zoo name; None where it is a program.
        config: Configuration of the architecture; None likewise.
        signature: How it is fed, where that was saved.
        pruning: What was removed from which layer, where that was saved.
        example: Example arguments of a program, as it was captured with them; else None.
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
        model: Of the zoo, built by :func:`edgesdk.models.create`: its ``config`` is saved with it.
            Of any other class, it is captured in evaluation mode, and what its attribute
            ``style_names`` calls its styles is saved with it.
        architecture: Its zoo name; None for a model of any other class.
        path: Folder to write, ``NAME.edgemodel``.
        example: Example arguments to capture with: a tensor, a tuple of positional or a dictionary
            of keyword arguments. Without one, random inputs of the signature stand in.
        signature: How it is fed.
        pruning: What was removed from which layer: any JSON object.
        overwrite: Whether an existing one may be replaced.

    Returns:
        The folder.

    Raises:
        UsageError: A model without a configuration or without an example, a record that is no
            JSON, or ``style_names`` that are no names of its styles.
        CaptureError: A model that ``torch.export`` cannot trace.
        OutputExistsError: The folder is there, or what should be replaced is no saved model.
        StorageError: It cannot be written.
    """
    config = _config(model, architecture) if architecture is not None else None
    # Faults in what is said of the model show before the time it takes to save it.
    styles = model_style_names(model) if architecture is None else ()
    ModelDescription(architecture, config, signature, pruning, styles=styles).text()
    if path.exists():
        if not overwrite:
            raise OutputExistsError(
                f"{path} exists", remedy="choose another name or pass overwrite=True"
            )
        if not (path / _DESCRIPTION_NAME).is_file():
            raise OutputExistsError(
                f"{path} is no saved model, so it is not replaced", remedy="choose another name"
            )
    program = None
    if architecture is None:
        program = capture_model(model, _example(example, signature))
        check_program_styles(program, styles)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
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
            "a model that is not of the zoo is saved as a program, and a program needs an example",
            remedy="pass example=inputs, or a signature with inputs",
        )
    arrays = random_inputs(signature.inputs, seed=0)
    return tuple(
        torch.from_numpy(arrays[spec.name]).to(torch_dtype(spec.dtype)) for spec in signature.inputs
    )


def _write_weights(model: nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    # Copies, because safetensors refuses weights that layers share.
    tensors = {
        key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()
    }
    save_file(tensors, path)


def load_model(path: Path) -> nn.Module:
    """Rebuild a model in evaluation mode.

    Raises:
        EdgeSdkError: See :func:`read_model_file`.
    """
    return read_model_file(path).model


def read_model_file(path: Path) -> ModelFile:
    """Read an ``.edgemodel`` of this version or an older one; nothing in it is believed.

    Args:
        path: The folder.

    Raises:
        SourceNotFoundError: The folder or one of its files is missing.
        SourceDamagedError: The description or the program is damaged.
        SourceError: The configuration builds no model, the style names do not fit the program, or
            the file is of a newer version.
        UnknownNameError: No architecture of this name.
        UnsafeFileError: A program that would run code, or a file that lies elsewhere.
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
        # Its weights are in the file; those of the zoo are not asked for.
        config["pretrained"] = False
    weights = _whole(path, WEIGHTS_NAME, description)
    # Sizes are only believed once the weights have them: without storage first.
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
    """A file of the folder, unless it is a link that leads out of it."""
    file = folder / name
    try:
        outside = file.is_symlink() and file.resolve().parent != folder.resolve()
    except (OSError, RuntimeError) as error:
        raise SourceNotFoundError(f"{file} leads nowhere", remedy="save the model again") from error
    if outside and file.is_file():
        raise UnsafeFileError(
            f"{file} is a link to a file outside of the saved model",
            remedy="copy the files themselves into the folder",
        )
    return file


def _whole(folder: Path, name: str, description: ModelDescription) -> Path:
    """A file of the folder that is what the description says."""
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
            f"{file} is damaged or of another model: its digest is not the one in model.json",
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
            f"nothing can be built from the configuration of {architecture}: {error}",
            where=str(text),
            remedy="save the model again",
        ) from error
