"""Find the model and its weights in a folder ``NAME.mlpackage``.

Packages are untrusted: every path in the manifest must stay inside the package before a file is
opened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgesdk.errors import InputNotFoundError, SessionError

__all__ = ["ModelPackage", "damaged_package", "open_package"]

_MANIFEST = "Manifest.json"
_MAX_MANIFEST_BYTES = 1 << 20
# Protocol buffers are limited to 2 GiB.
_MAX_MODEL_BYTES = (1 << 31) - 1
_REMEDY = "convert the model again, or copy the whole .mlpackage folder again"


@dataclass(frozen=True)
class ModelPackage:
    """The files of a package.

    Attributes:
        path: Folder of the package.
        model: The serialized model.
        weights: Folder of the weight files, or None without weight files.
    """

    path: Path
    model: Path
    weights: Path | None


def damaged_package(path: Path, message: str, remedy: str = _REMEDY) -> SessionError:
    """Make the error for a package that cannot be used."""
    return SessionError(message, where=str(path), remedy=remedy)


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest = path / _MANIFEST
    try:
        if manifest.stat().st_size > _MAX_MANIFEST_BYTES:
            raise damaged_package(path, f"{_MANIFEST} is too large to be a manifest")
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise damaged_package(
            path, f"this is not a Core ML package: it has no {_MANIFEST}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged_package(path, f"{_MANIFEST} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise damaged_package(path, f"{_MANIFEST} is not a JSON object")
    return content


def _inside(path: Path, entry: object) -> Path:
    """Return the path of an item of the manifest; refuse one outside the package."""
    name = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name or "\x00" in name:
        raise damaged_package(path, f"an item of {_MANIFEST} has no path")
    pure = PurePosixPath(name)
    data = path / "Data"
    target = data / name
    # Resolving detects a link inside the package that points out of it.
    leaves = pure.is_absolute() or ".." in pure.parts or "\\" in name
    if leaves or not target.resolve().is_relative_to(data.resolve()):
        raise damaged_package(
            path,
            f"{_MANIFEST} names {name!r}, which is outside the package",
            "do not use this package: no converter writes such a path",
        )
    return target


def open_package(path: Path) -> ModelPackage:
    """Find the files of a ``.mlpackage``.

    Args:
        path: Folder of the package.

    Raises:
        InputNotFoundError: The folder does not exist.
        SessionError: The folder is not a package, is damaged, or has paths that leave it.
    """
    if not path.exists():
        raise InputNotFoundError(path, "folder")
    if not path.is_dir():
        raise damaged_package(
            path,
            "a Core ML package is a folder, and this is a file",
            "pass the .mlpackage folder; a single .mlmodel file has no ML Program",
        )
    manifest = _read_manifest(path)
    items = manifest.get("itemInfoEntries")
    root = manifest.get("rootModelIdentifier")
    if not isinstance(items, dict) or not isinstance(root, str) or root not in items:
        raise damaged_package(path, f"{_MANIFEST} does not name the model")
    model = _inside(path, items[root])
    weights = None
    for entry in items.values():
        item = _inside(path, entry)
        if entry.get("name") == "weights":
            weights = item
    if not model.is_file():
        raise damaged_package(path, f"the model file {model.name!r} of the package is missing")
    if model.stat().st_size > _MAX_MODEL_BYTES:
        raise damaged_package(path, f"the model file {model.name!r} is larger than 2 GiB")
    if weights is not None:
        if not weights.is_dir():
            raise damaged_package(path, "the weights of the package are missing")
        for file in weights.iterdir():
            if not file.resolve().is_relative_to(path.resolve()):
                raise damaged_package(path, f"the weight file {file.name!r} is outside the package")
    return ModelPackage(path, model, weights)
