"""``model.json`` of an ``.edgemodel``: what it says, written and read as somebody else's."""

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

#: Raised whenever a reader of the version before would misread a file.
MODEL_FILE_VERSION = 2

WEIGHTS_NAME = "weights.safetensors"
PROGRAM_NAME = "program.pt2"

_MAX_JSON = 2**22
_MAX_CLASSES = 10_000
_MAX_CLASS_NAME = 200
_REMEDY = "save the model again"


@dataclass(frozen=True)
class ModelSignature:
    """What the user of a model has to know to feed it and to read its answer.

    Attributes:
        inputs: Its inputs, in the order of the call.
        image: Preprocessing of its photographs; None where it takes none.
        classes: Names of its classes in the order of the logits; empty where it does not classify.

    Raises:
        UsageError: Class names that nobody could print, or more than 10,000.
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
                    f"{str(name)[:40]!r} is no name of a class",
                    remedy=f"give printable names of at most {_MAX_CLASS_NAME} characters",
                )
        names = [spec.name for spec in self.inputs]
        if len(set(names)) != len(names):
            raise UsageError("two inputs have the same name", remedy="give each its own")


class _SignatureRecord(BaseModel):
    """A signature in JSON, where fields nobody knows are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    inputs: list[TensorSpec] = []
    image: ImageSpec | None = None
    classes: list[str] = []


@dataclass(frozen=True)
class ModelDescription:
    """What ``model.json`` says.

    Attributes:
        architecture: Zoo name; None where the model is a program.
        config: Configuration of the architecture; None likewise.
        signature: How it is fed, where that was saved.
        pruning: What was removed from which layer, where that was saved.
        sha256: Digest of the one file that holds weights, by name; empty in version 1.
        version: Version of the file.
        styles: Names of the styles of a program; an architecture keeps its own in ``config``.
    """

    architecture: str | None
    config: dict[str, Any] | None
    signature: ModelSignature | None = None
    pruning: dict[str, Any] | None = None
    sha256: dict[str, str] = field(default_factory=dict)
    version: int = MODEL_FILE_VERSION
    styles: tuple[str, ...] = ()

    def text(self) -> str:
        """The description as JSON; the same description gives the same text.

        Raises:
            UsageError: The configuration or the record of a pruning is no JSON, or is too large.
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
                f"the configuration or the record of the pruning is no JSON: {error}",
                remedy="use text, finite numbers, truth values, lists and dictionaries",
            ) from error
        if not same:
            raise UsageError(
                "the configuration or the record of the pruning changes on its way through JSON",
                remedy="use lists in place of tuples, and text for keys",
            )
        if len(text.encode()) > _MAX_JSON:
            raise UsageError(
                f"the description is larger than {_MAX_JSON >> 20} MiB",
                remedy="save a shorter record of the pruning",
            )
        return text


def read_description(path: Path) -> ModelDescription:
    """Read a ``model.json``.

    Args:
        path: The file.

    Raises:
        SourceNotFoundError: There is none.
        SourceDamagedError: It is damaged or too large.
        SourceError: It is of a newer version.
    """
    if not path.is_file():
        raise SourceNotFoundError(f"{path.parent} holds no {path.name}", remedy=_REMEDY)
    if path.stat().st_size > _MAX_JSON:
        raise SourceDamagedError(f"{path} is too large for a description", remedy=_REMEDY)
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = read["edgemodel"]
        if type(version) is not int or version < 1:
            raise ValueError(f"version {version!r}")
        if version <= MODEL_FILE_VERSION:
            return _description(read, version)
    except EdgeSdkError as error:
        # The specs check themselves with errors of their own.
        raise SourceDamagedError(
            f"{path} is no description of a model: {error.message}", remedy=_REMEDY
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceDamagedError(f"{path} is no description of a model", remedy=_REMEDY) from error
    raise SourceError(
        f"{path.parent.name} is of version {version}, this SDK reads up to {MODEL_FILE_VERSION}",
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
        # No other name is taken, so that no path leads out of the folder.
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
