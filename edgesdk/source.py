"""SOURCE of a model: zoo name, Python file or module with factory, ``.pt2``, ``.edgemodel``."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from converters.locations import user_frame
from edgesdk import models
from edgesdk.errors import (
    EdgeSdkError,
    FactoryError,
    SourceNotFoundError,
    UnsafeFileError,
    UsageError,
    nearest,
)
from edgesdk.model_file import load_model
from edgesdk.program_file import load_program
from edgesdk.spec import ImageSpec, TensorSpec
from edgesdk.weights import load_weights

__all__ = ["LoadedModel", "load"]


@dataclass(frozen=True)
class LoadedModel:
    """A model with what its source knows of its inputs.

    Attributes:
        model: In evaluation mode.
        spec: SOURCE as the user wrote it.
        name: A short name, for the bundle.
        inputs: Inputs the source declares; empty where it declares none.
        example: Example arguments the factory returned, or None.
        image: Preprocessing of its photographs, where the source knows it.
        labels: Name of its label set, or empty.
        notes: What was done to it that the user should know.
    """

    model: nn.Module
    spec: str
    name: str
    inputs: tuple[TensorSpec, ...] = ()
    example: Any = None
    image: ImageSpec | None = None
    labels: str = ""
    notes: tuple[str, ...] = field(default=())


def load(source: str, weights: Path | None = None) -> LoadedModel:
    """Turn SOURCE into a model in evaluation mode.

    Args:
        source: Zoo name, ``path/file.py:factory``, ``package.module:factory``, ``.pt2`` or
            ``.edgemodel``.
        weights: Weights to load into it.

    Raises:
        SourceNotFoundError: Nothing there.
        FactoryError: The user's code raised or returned no model.
        UnsafeFileError: A file that would run code when read.
        WeightsError: Weights that do not match.
        UsageError: Weights for a program, which has its own.
    """
    loaded = _dispatch(source)
    if weights is not None:
        if source.endswith(".pt2"):
            raise UsageError("a .pt2 program brings its own weights", remedy="leave --weights away")
        load_weights(loaded.model, weights)
    training = [name for name, module in loaded.model.named_modules() if module.training]
    if not training:
        return loaded
    try:
        loaded.model.eval()
    except NotImplementedError:
        # An exported program has no modes; whether it trains is seen in its operators.
        return loaded
    from_root = "the model was" if "" in training else f"{len(training)} layers were"
    note = f"{from_root} in training mode; switched to evaluation (dropout off, batch norm fixed)"
    return replace(loaded, notes=(*loaded.notes, note))


def _dispatch(source: str) -> LoadedModel:
    path = Path(source)
    if source.endswith(".pt2"):
        _must_exist(path)
        return _from_program(path)
    if source.rstrip("/").endswith(".edgemodel"):
        _must_exist(path)
        return LoadedModel(load_model(path), source, path.stem)
    if path.suffix in (".pth", ".pt", ".pkl", ".bin", ".ckpt", ".safetensors"):
        raise UnsafeFileError(
            f"{path.name} holds weights or a pickled object, not a model",
            remedy=f"name the code that builds it and load it into that: "
            f"edgesdk export net.py:build --weights {path.name}",
        )
    head, separator, factory = source.rpartition(":")
    if separator and head.endswith(".py"):
        file = Path(head)
        _must_exist(file)
        return _from_factory(source, _import_file(file), factory, file.stem)
    if separator:
        return _from_factory(source, _import_module(head), factory, head.rpartition(".")[2])
    if path.suffix == ".py":
        _must_exist(path)
        raise SourceNotFoundError(
            f"{source} names no factory",
            remedy=f"name the function or class that builds the model: {source}:{_guess(path)}",
        )
    entry = models.entry(source)
    return LoadedModel(
        models.create(source), source, source, entry.inputs, None, entry.image, entry.labels
    )


def _must_exist(path: Path) -> None:
    if not path.exists():
        near = nearest(path.name, _siblings(path))
        raise SourceNotFoundError(
            f"no file {path}",
            remedy=f"did you mean {path.parent / near}?" if near else "check the path",
        )
    try:
        if path.is_file():
            with path.open("rb"):
                pass
    except OSError as error:
        raise SourceNotFoundError(
            f"{path} cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error


def _siblings(path: Path) -> list[str]:
    folder = path.parent
    return [child.name for child in folder.iterdir()] if folder.is_dir() else []


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        raise FactoryError(
            f"{path} is no Python that can be read: {error.args[0]}",
            where=f"{path}{line}",
            remedy="correct the file",
        ) from error


def _guess(path: Path) -> str:
    tree = _parse(path)
    names = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    return names[-1] if names else "build"


def _package_of(path: Path) -> tuple[Path, str]:
    """The folder that must be importable, and the dotted name of the file below it."""
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    levels = max(
        (node.level for node in ast.walk(_parse(path)) if isinstance(node, ast.ImportFrom)),
        default=0,
    )
    # Relative imports work without __init__.py too, as long as the folders above are named.
    while len(parts) <= levels and folder.name:
        parts.insert(0, folder.name)
        folder = folder.parent
    if parts[-1] == "__init__":
        parts.pop()
    return folder, ".".join(parts)


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    folder, name = _package_of(path)
    # Siblings of the file are importable, as when Python runs the file itself.
    for place in (str(path.parent), str(folder)):
        if place not in sys.path:
            sys.path.insert(0, place)
    loaded = sys.modules.get(name)
    if loaded is not None and Path(getattr(loaded, "__file__", None) or "").resolve() == path:
        return loaded
    if "." in name:
        # Import the packages above by name, the file itself by its path: two projects may use
        # the same names.
        parent = name.rpartition(".")[0]
        _guarded(lambda: importlib.import_module(parent), str(path))
    elif loaded is not None or importlib.util.find_spec(name) is not None:
        name = f"edgesdk_source_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SourceNotFoundError(f"{path} is no Python file", remedy="check the path")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    try:
        _guarded(lambda: loader.exec_module(module), str(path))
    except EdgeSdkError:
        sys.modules.pop(name, None)
        raise
    return module


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise SourceNotFoundError(
            f"{name!r} is no module",
            remedy="write package.module:factory or path/to/file.py:factory",
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    top = name.partition(".")[0]
    if importlib.util.find_spec(top) is None:
        raise SourceNotFoundError(
            f"no module {name!r}",
            remedy="install it, or run from the folder that contains it",
        )
    module: ModuleType = _guarded(lambda: importlib.import_module(name), name)
    return module


def _guarded(call: Callable[[], Any], what: str) -> Any:
    try:
        return call()
    except EdgeSdkError:
        raise
    except (Exception, SystemExit) as error:
        text = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
        frame = user_frame(text)
        missing = isinstance(error, ModuleNotFoundError)
        raise FactoryError(
            f"{what} raised {type(error).__name__}: {error}",
            where=f"{frame}: {frame.code}" if frame else None,
            remedy=f"install {error.name!r} or run from the folder that contains it"
            if isinstance(error, ModuleNotFoundError) and missing
            else "correct the code; --debug shows the whole traceback",
        ) from error


def _from_factory(source: str, module: ModuleType, factory: str, name: str) -> LoadedModel:
    target: Any = module
    for part in factory.split("."):
        if not hasattr(target, part):
            public = [n for n in vars(target) if not n.startswith("_")]
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
    built = _guarded(target, f"{factory}()")
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
        raise FactoryError(
            f"{factory} needs arguments ({', '.join(required)})",
            remedy="name a function without arguments that builds the model, for instance: "
            f"def build(): return {factory}(...)",
        )


def _from_program(path: Path) -> LoadedModel:
    program = load_program(path)
    example = program.example_inputs
    args, kwargs = example if example is not None else ((), {})
    if args and kwargs:
        raise FactoryError(
            f"{path.name} was captured with positional and keyword arguments at once",
            remedy="capture it with positional arguments only",
        )
    return LoadedModel(program.module(), str(path), path.stem, example=kwargs or args or None)
