"""Recognize the files that people give as SOURCE or as weights. Nothing here imports torch.

Mistakes in a command line are found before torch is loaded, which takes seconds.
"""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

from edgesdk import models
from edgesdk.errors import (
    EdgeSdkError,
    InputNotFoundError,
    SourceError,
    SourceNotFoundError,
    UnknownNameError,
    UnsafeFileError,
    WeightsError,
)
from edgesdk.frontend.user_code import parse
from edgesdk.near_names import nearest_path

__all__ = ["check_source", "check_weights_file", "file_kind"]

#: Suffixes of files that torch and safetensors write.
_TORCH_SUFFIXES = (".bin", ".ckpt", ".pkl", ".pt", ".pth", ".safetensors")
_KINDS = {
    ".edge": "a bundle of converted artefacts",
    ".h5": "a Keras model",
    ".keras": "a Keras model",
    ".mlmodel": "a Core ML model",
    ".mlpackage": "a Core ML package",
    ".onnx": "an ONNX model",
    ".pb": "a TensorFlow model",
    ".pt2": "an exported program",
    ".pte": "an ExecuTorch program",
    ".tflite": "a LiteRT model",
}
_MAGIC = {b"TFL3": "a LiteRT model", b"ET12": "an ExecuTorch program"}
_TORCHSCRIPT = "a TorchScript archive"


def file_kind(path: Path) -> str:
    """Name the kind of a model file by its content and suffix, such as ``an ONNX model``.

    Empty for weights, for a pickle and for a file of another kind.
    """
    kind = _KINDS.get(path.suffix.lower(), "")
    if kind or not path.is_file():
        return kind
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if head[4:8] in _MAGIC:
            return _MAGIC[head[4:8]]
        if not head.startswith(b"PK\x03\x04"):
            return ""
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (OSError, ValueError, zipfile.BadZipFile):
        return ""
    if "archive_format" in names or any(
        name.endswith("serialized_exported_program.json") for name in names
    ):
        return _KINDS[".pt2"]
    return _TORCHSCRIPT if any(name.startswith("code/") for name in names) else ""


def check_source(source: str) -> None:
    """Check the text of SOURCE and the files that it names.

    Raises:
        SourceNotFoundError: No such file, or no factory is named.
        SourceError: The file is a model of another framework, or a converted one.
        UnsafeFileError: The file holds weights or a pickled model.
        UnknownNameError: The zoo has no such network.
    """
    path = Path(source)
    suffix = path.suffix.lower()
    head, separator, _ = source.rpartition(":")
    if separator and head.endswith(".py"):
        _must_exist(Path(head))
    elif separator:
        # A module: found when it is imported.
        return
    elif suffix in (".pt2", ".edgemodel"):
        _must_exist(path)
    elif suffix == ".py":
        _must_exist(path)
        raise _without_factory(path, source)
    elif suffix in _KINDS or suffix in _TORCH_SUFFIXES:
        if not path.exists():
            raise _absent(path)
        raise _not_a_source(path)
    elif source not in models.names():
        raise _unknown(source, path)


def check_weights_file(path: Path) -> None:
    """Check that a file may hold weights.

    Raises:
        InputNotFoundError: It does not exist.
        WeightsError: It is a model, a converted one or one of another framework.
    """
    if not path.exists():
        raise InputNotFoundError(path)
    kind = file_kind(path)
    if kind == _KINDS[".pt2"]:
        remedy = f"give it as SOURCE, which needs no --weights: edgesdk export {path.name}"
        if path.suffix != ".pt2":
            remedy = f"{_renamed(path)}, and give that as SOURCE without --weights"
    elif kind == _TORCHSCRIPT:
        remedy = f"save its weights: {_weights_of(path)}; then --weights weights.pth"
    elif kind:
        remedy = "save those of the PyTorch model: torch.save(model.state_dict(), 'weights.pth')"
    else:
        return
    raise WeightsError(f"{path.name} is {kind}, not a file of weights", remedy=remedy)


def _renamed(path: Path) -> str:
    return f"give it the suffix .pt2: mv {path.name} {path.stem}.pt2"


def _weights_of(path: Path) -> str:
    return f"torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pth')"


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise _absent(path)
    if path.is_dir() != (path.suffix == ".edgemodel"):
        raise SourceNotFoundError(
            f"{path} is {'a folder' if path.is_dir() else 'a file'}", remedy="check the path"
        )
    try:
        if path.is_file():
            with path.open("rb"):
                pass
    except OSError as error:
        raise SourceNotFoundError(
            f"{path} cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error


def _absent(path: Path) -> SourceNotFoundError:
    near = nearest_path(path)
    return SourceNotFoundError(
        f"no such file: {path}", remedy=f"did you mean {near}?" if near else "check the path"
    )


def _not_a_source(path: Path) -> EdgeSdkError:
    kind = file_kind(path)
    build = "edgesdk export net.py:build"
    if not kind:
        return UnsafeFileError(
            f"{path.name} holds weights or a pickled object, not a model",
            remedy="name the code that builds it and load it into that: "
            f"{build} --weights {path.name}",
        )
    if kind == _KINDS[".pt2"]:
        remedy = _renamed(path)
    elif kind == _TORCHSCRIPT:
        remedy = (
            "build the nn.Module in Python and load the archive's weights into it: "
            f"{_weights_of(path)}, then "
            f"{build} --weights weights.pth"
        )
    elif path.suffix == ".edge":
        remedy = f"check it with edgesdk verify {path.name}, or convert the model it was made from"
    else:
        remedy = f"give the PyTorch code that builds the model: {build}"
    return SourceError(f"{path.name} is {kind}, not a PyTorch model", remedy=remedy)


def _unknown(source: str, path: Path) -> EdgeSdkError:
    file = path.with_name(f"{path.name}.py") if path.name else path
    if file.is_file():
        return _without_factory(file, source)
    if path.exists() or len(path.parts) > 1:
        if path.exists():
            return SourceNotFoundError(
                f"{source} is not a model: it is neither Python code nor a model file",
                remedy="name the code that builds it: path/to/file.py:factory",
            )
        return _absent(path)
    return UnknownNameError("model", source, models.names())


def _without_factory(path: Path, source: str) -> SourceNotFoundError:
    """Describe a Python file given without a factory; the remedy lists its candidates."""
    names = _candidates(path)
    if not names:
        remedy = f"write a function that returns the model and name it: {path}:build"
    elif len(names) == 1:
        remedy = f"name the function or class that builds the model: {path}:{names[0]}"
    else:
        listed = ", ".join(f"{path}:{name}" for name in names[:8])
        remedy = f"name the function or class that builds the model, one of {listed}"
    return SourceNotFoundError(f"{source} does not name a factory", remedy=remedy)


def _candidates(path: Path) -> list[str]:
    """Return public functions without required arguments first, then modules, then the rest."""
    ranked = []
    for node in parse(path).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            ranked.append((0 if _callable_without_arguments(node) else 2, node.name))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            is_module = any(ast.unparse(base).endswith("Module") for base in node.bases)
            made = next(
                (
                    one
                    for one in node.body
                    if isinstance(one, ast.FunctionDef) and one.name == "__init__"
                ),
                None,
            )
            free = made is None or _callable_without_arguments(made, own=1)
            ranked.append((1 if is_module and free else 2, node.name))
    best = min((rank for rank, _ in ranked), default=0)
    if best < 2:
        ranked = [(rank, name) for rank, name in ranked if rank < 2]
    return [name for _, name in sorted(ranked, key=lambda pair: pair[0])]


def _callable_without_arguments(node: ast.FunctionDef, own: int = 0) -> bool:
    given = node.args
    required = len(given.posonlyargs) + len(given.args) - len(given.defaults) - own
    return required <= 0 and all(default is not None for default in given.kw_defaults)
