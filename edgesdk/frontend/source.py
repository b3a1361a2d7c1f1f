"""Load SOURCE: zoo name, Python file or module with factory, ``.pt2`` or ``.edgemodel``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk import models
from edgesdk.errors import FactoryError, SourceNotFoundError, UsageError
from edgesdk.frontend.edgemodel.file import ModelSignature, read_model_file
from edgesdk.frontend.evaluation_mode import evaluate
from edgesdk.frontend.pt2.reader import read_program
from edgesdk.frontend.pt2.style_names import program_module
from edgesdk.frontend.source_files import check_source, check_weights_file
from edgesdk.frontend.user_code import guarded, import_file, import_module
from edgesdk.frontend.weights import load_state, load_weights
from edgesdk.near_names import nearest
from edgesdk.spec import ImageSpec, TensorSpec

__all__ = ["LoadedModel", "load", "require_float_module"]


@dataclass(frozen=True)
class LoadedModel:
    """A model with the facts its source states.

    Attributes:
        model: Model in evaluation mode.
        spec: SOURCE as the user wrote it.
        name: Short name for the bundle.
        inputs: Inputs the source declares; empty for none.
        example: Example arguments the factory returned, or None.
        image: Preprocessing of photographs, if known.
        labels: Name of the label set, or the class names themselves; empty if unknown.
        notes: Changes to the model that the user should know.
    """

    model: nn.Module
    spec: str
    name: str
    inputs: tuple[TensorSpec, ...] = ()
    example: Any = None
    image: ImageSpec | None = None
    labels: str | tuple[str, ...] = ""
    notes: tuple[str, ...] = field(default=())


def load(source: str, weights: Path | None = None) -> LoadedModel:
    """Turn SOURCE into a model in evaluation mode.

    Args:
        source: Zoo name, ``path/file.py:factory``, ``package.module:factory``, ``.pt2`` or
            ``.edgemodel``.
        weights: Weights to load into it.

    Raises:
        SourceNotFoundError: SOURCE does not exist.
        FactoryError: The user's code raised, or did not return a model that can be captured.
        SourceDamagedError: A ``.pt2`` or ``.edgemodel`` is damaged.
        UnsafeFileError: The file would run code when read.
        WeightsDamagedError: The weight file is damaged.
        WeightsError: The weights do not match the model.
        UsageError: Weights are given for a program, which has its own.
    """
    loaded = _dispatch(source)
    require_float_module(loaded.model)
    if weights is not None:
        if source.endswith(".pt2"):
            raise UsageError("a .pt2 program has its own weights", remedy="omit --weights")
        notes = load_given_weights(loaded.model, weights)
        loaded = replace(loaded, notes=(*loaded.notes, *notes))
    elif source in models.names() and not models.entry(source).trained:
        note = "weights: random (seeded); give --weights FILE"
        loaded = replace(loaded, notes=(*loaded.notes, note))
    switched = evaluate(loaded.model)
    if not switched:
        return loaded
    note = f"{switched} in training mode; switched to evaluation (dropout off, batch norm fixed)"
    return replace(loaded, notes=(*loaded.notes, note))


#: Packages whose layers hold integer weights for kernels of torch, or observe values for them.
_QUANTIZED = (
    "torch.ao.nn.intrinsic.qat",
    "torch.ao.nn.intrinsic.quantized",
    "torch.ao.nn.qat",
    "torch.ao.nn.quantized",
    "torch.ao.nn.sparse.quantized",
    "torch.ao.quantization.fake_quantize",
    "torch.ao.quantization.observer",
    "torchao",
)


def require_float_module(model: nn.Module) -> None:
    """Check that a model is Python code with float weights on the CPU: nothing else is captured.

    Raises:
        FactoryError: A part of it is TorchScript, quantized by torch or on another device; names
            the part.
    """
    for path, module in model.named_modules():
        part = f"the layer {path!r}" if path else "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise FactoryError(
                f"{part} is TorchScript, which cannot be captured",
                remedy="build the nn.Module, without torch.jit.script or torch.jit.trace",
            )
        weights = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        kinds = [type(module), *(type(one.data) for one in weights)]
        if any(kind.__module__.startswith(_QUANTIZED) for kind in kinds):
            raise FactoryError(
                f"{part} is quantized by torch already ({type(module).__name__})",
                remedy="give the float model; --quantize does this",
            )
        device = next((one.device.type for one in weights if one.device.type != "cpu"), None)
        if device is not None:
            raise FactoryError(
                f"{part} has weights on the device {device!r}",
                remedy="build the model on the CPU, and load its weights"
                if device == "meta"
                else "move the model: model.cpu()",
            )


def load_given_weights(model: nn.Module, path: Path) -> tuple[str, ...]:
    """Load the weights of a file, or those of a saved model (``.edgemodel``), into a model.

    Returns:
        Notes on changes to the keys.

    Raises:
        EdgeSdkError: As :func:`edgesdk.frontend.weights.load_weights` does.
    """
    if path.suffix != ".edgemodel":
        return load_weights(model, path)
    check_weights_file(path)
    return load_state(model, read_model_file(path).model.state_dict(), path.name)


def _dispatch(source: str) -> LoadedModel:
    check_source(source)
    path = Path(source)
    if path.suffix == ".pt2":
        return _from_program(path)
    if path.suffix == ".edgemodel":
        return _from_model_file(path, source)
    head, separator, factory = source.rpartition(":")
    if separator and head.endswith(".py"):
        file = Path(head)
        return _from_factory(source, import_file(file), factory, file.stem)
    if separator:
        return _from_factory(source, import_module(head), factory, head.rpartition(".")[2])
    entry = models.entry(source)
    return LoadedModel(
        models.create(source), source, source, entry.inputs, None, entry.image, entry.labels
    )


def _from_factory(source: str, module: ModuleType, factory: str, name: str) -> LoadedModel:
    target: Any = module
    for part in factory.split("."):
        if not hasattr(target, part):
            public = [name for name in dir(target) if not name.startswith("_")]
            near = nearest(part, public)
            raise SourceNotFoundError(
                f"{source.rpartition(':')[0]} has no {factory!r}",
                remedy=f"did you mean {near!r}?" if near else "name the function that builds it",
            )
        target = getattr(target, part)
    if isinstance(target, nn.Module):
        return LoadedModel(target, source, name)
    if not callable(target):
        raise FactoryError(
            f"{factory} is a {type(target).__name__}, not something that builds a model",
            remedy="name a function, an nn.Module class or a module instance",
        )
    _check_callable_without_arguments(target, factory)
    built = guarded(target, f"{factory}()")
    example = None
    if isinstance(built, tuple) and len(built) == 2 and isinstance(built[0], nn.Module):
        built, example = built
        if isinstance(example, list):
            example = tuple(example)
        if not isinstance(example, (Tensor, tuple, dict)):
            raise FactoryError(
                f"{factory}() returned a {type(example).__name__} as example",
                remedy="return the model, or (model, example inputs)",
            )
    if not isinstance(built, nn.Module):
        raise FactoryError(
            f"{factory}() returned a {type(built).__name__}, not an nn.Module",
            remedy="return the model, or (model, example inputs)",
        )
    return LoadedModel(built, source, name, example=example)


def _check_callable_without_arguments(target: Callable[..., Any], factory: str) -> None:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return
    required = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        name = "make" if factory == "build" else "build"
        given = ", ".join(f"{one}=..." for one in required)
        raise FactoryError(
            f"{factory} needs arguments ({', '.join(required)})",
            remedy="name a function without arguments that builds the model, for instance: "
            f"def {name}(): return {factory}({given})",
        )


def _from_model_file(path: Path, source: str) -> LoadedModel:
    file = read_model_file(path)
    signature = file.signature or ModelSignature()
    example = None if signature.inputs else file.example
    return LoadedModel(
        file.model,
        source,
        path.stem,
        signature.inputs,
        example,
        signature.image,
        signature.classes or "",
    )


def _from_program(path: Path) -> LoadedModel:
    file = read_program(path)
    example = file.program.example_inputs
    args, kwargs = example if example is not None else ((), {})
    if args and kwargs:
        raise FactoryError(
            f"{path.name} was captured with both positional and keyword arguments",
            remedy="capture it with positional arguments only",
        )
    module = program_module(file.program, file.style_names, path)
    return LoadedModel(module, str(path), path.stem, example=kwargs or args or None)
