"""``model.json`` of an ``.edgemodel``: fields, writing, and reading as untrusted input."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edgesdk.errors import (
    EdgeSdkError,
    SourceDamagedError,
    SourceError,
    SourceNotFoundError,
    UsageError,
)
from edgesdk.spec import ImageSpec, TensorSpec
from edgesdk.style_names import check_style_names

__all__ = [
    "MODEL_FILE_VERSION",
    "PROGRAM_NAME",
    "WEIGHTS_NAME",
    "ModelDescription",
    "ModelSignature",
    "read_description",
]

#: Incremented whenever an older reader would misread the file.
MODEL_FILE_VERSION = 2

WEIGHTS_NAME = "weights.safetensors"
PROGRAM_NAME = "program.pt2"

_MAX_JSON = 2**22
_MAX_CLASSES = 10_000
_MAX_CLASS_NAME = 200
_REMEDY = "save the model again"


@dataclass(frozen=True)
class ModelSignature:
    """Inputs, image preprocessing and class names of a saved model.

    Attributes:
        inputs: Specs of the inputs, in call order.
        image: Preprocessing of photographs; None if the model takes none.
        classes: Class names in the order of the logits; empty if the model does not classify.

    Raises:
        UsageError: Class names are not printable or more than 10,000, or two inputs share a name.
    """

    inputs: tuple[TensorSpec, ...] = ()
    image: ImageSpec | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) > _MAX_CLASSES:
            raise UsageError(f"{len(self.classes)} class names, more than {_MAX_CLASSES}")
        for name in self.classes:
            if not isinstance(name, str) or not name.isprintable() or len(name) > _MAX_CLASS_NAME:
                raise UsageError(
                    f"{str(name)[:40]!r} is not a valid class name",
                    remedy=f"give printable names of at most {_MAX_CLASS_NAME} characters",
                )
        names = [spec.name for spec in self.inputs]
        if len(set(names)) != len(names):
            raise UsageError("two inputs have the same name", remedy="give each its own")


class _SignatureRecord(BaseModel):
    """A signature in JSON; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    inputs: list[TensorSpec] = []
    image: ImageSpec | None = None
    classes: list[str] = []


@dataclass(frozen=True)
class ModelDescription:
    """Content of ``model.json``.

    Attributes:
        architecture: Zoo name; None for a captured program.
        config: Configuration of the architecture; None for a captured program.
        signature: Inputs, preprocessing and classes, if saved.
        pruning: Channels removed per layer, if saved.
        sha256: Digest of the file that holds the weights, by file name; empty in version 1.
        version: Version of the file format.
        styles: Style names of a program; an architecture keeps them in ``config``.
    """

    architecture: str | None
    config: dict[str, Any] | None
    signature: ModelSignature | None = None
    pruning: dict[str, Any] | None = None
    sha256: dict[str, str] = field(default_factory=dict)
    version: int = MODEL_FILE_VERSION
    styles: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the description as JSON; equal descriptions give equal text.

        Raises:
            UsageError: The configuration or the pruning record is not JSON, or is too large.
        """
        described: dict[str, Any] = {"edgemodel": MODEL_FILE_VERSION, "sha256": self.sha256}
        if self.architecture is not None:
            described |= {"architecture": self.architecture, "config": self.config}
        else:
            described["program"] = PROGRAM_NAME
        if self.signature is not None:
            record = _SignatureRecord(
                inputs=list(self.signature.inputs),
                image=self.signature.image,
                classes=list(self.signature.classes),
            )
            described["face"] = record.model_dump(mode="json")
        if self.pruning is not None:
            described["pruning"] = self.pruning
        if self.styles:
            described["styles"] = list(self.styles)
        try:
            text = json.dumps(described, indent=1, sort_keys=True, allow_nan=False) + "\n"
            same = json.loads(text) == described
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"the configuration or the pruning record is not JSON: {error}",
                remedy="use strings, finite numbers, booleans, lists and dictionaries",
            ) from error
        if not same:
            raise UsageError(
                "the configuration or the pruning record changes on its way through JSON",
                remedy="use lists instead of tuples, and strings as keys",
            )
        if len(text.encode()) > _MAX_JSON:
            raise UsageError(
                f"the description is larger than {_MAX_JSON >> 20} MiB",
                remedy="save a shorter pruning record",
            )
        return text


def read_description(path: Path) -> ModelDescription:
    """Read a ``model.json``.

    Args:
        path: The file.

    Raises:
        SourceNotFoundError: The file does not exist.
        SourceDamagedError: The file is damaged or too large.
        SourceError: The file is of a newer version.
    """
    if not path.is_file():
        raise SourceNotFoundError(f"{path.parent} has no {path.name}", remedy=_REMEDY)
    if path.stat().st_size > _MAX_JSON:
        raise SourceDamagedError(f"{path} is too large for a model description", remedy=_REMEDY)
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = read["edgemodel"]
        if type(version) is not int or version < 1:
            raise ValueError(f"version {version!r}")
        if version <= MODEL_FILE_VERSION:
            return _description(read, version)
    except EdgeSdkError as error:
        # The specs raise errors of their own.
        raise SourceDamagedError(
            f"{path} is not a model description: {error.message}", remedy=_REMEDY
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceDamagedError(f"{path} is not a model description", remedy=_REMEDY) from error
    raise SourceError(
        f"{path.parent.name} has version {version}, and this SDK reads up to {MODEL_FILE_VERSION}",
        remedy="pip install --upgrade edgesdk",
    )


def _description(read: dict[str, Any], version: int) -> ModelDescription:
    architecture, config = read.get("architecture"), read.get("config")
    signature, pruning = read.get("face"), read.get("pruning")
    sha256 = read.get("sha256", {})
    if version == 1:
        signature, pruning, sha256 = None, None, {}
    if version == 1 or "program" not in read:
        whole = isinstance(architecture, str) and isinstance(config, dict)
        file = WEIGHTS_NAME
    else:
        # Only this name is accepted, so that no path leads out of the folder.
        whole = read["program"] == PROGRAM_NAME and architecture is None and config is None
        file = PROGRAM_NAME
    if not (whole and isinstance(pruning, dict | None) and isinstance(sha256, dict)):
        raise ValueError("neither an architecture nor a program")
    if version > 1 and not (list(sha256) == [file] and isinstance(sha256[file], str)):
        raise ValueError("no digest")
    styles = check_style_names(read.get("styles", [])) if file == PROGRAM_NAME else []
    return ModelDescription(
        architecture,
        config,
        None if signature is None else _signature(signature),
        pruning,
        sha256,
        version,
        tuple(styles),
    )


def _signature(signature: Any) -> ModelSignature:
    try:
        record = _SignatureRecord.model_validate_json(json.dumps(signature), strict=True)
    except ValidationError as error:
        raise ValueError("a signature of another form") from error
    return ModelSignature(tuple(record.inputs), record.image, tuple(record.classes))
