"""The schema of ``manifest.json``, version 5: what a bundle says of itself.

The apps read the same file, so every field is plain JSON. A reader refuses a newer schema; fields
are only added with a new version.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edgesdk.bundle.manifest.cost import CostRecord
from edgesdk.bundle.manifest.coverage import CoverageRecord
from edgesdk.bundle.manifest.paintings import PaintedRecord, PaintingsRecord
from edgesdk.bundle.manifest.parity import ParityRecord
from edgesdk.bundle.manifest.profile import ProfileRecord
from edgesdk.bundle.manifest.quantization import QuantizationRecord, SensitivityRecord
from edgesdk.bundle.manifest.record import FileRecord, Items, Record, StyleName, Text
from edgesdk.spec import TensorSpec
from edgesdk.style_names import MAX_STYLES, check_style_names

__all__ = [
    "SCHEMA_VERSION",
    "ArtefactRecord",
    "FailureRecord",
    "Manifest",
    "ReferenceRecord",
    "SourceRecord",
]

#: Raised whenever a reader of the version before would misread a manifest.
SCHEMA_VERSION = 5


class SourceRecord(Record):
    """Where the model came from.

    Attributes:
        spec: SOURCE as the user wrote it, or the class name for a model given in Python.
        model: Qualified class name of the model.
        sha256: Content hash of the captured program: graph, source lines, weights, constants.
        parameters: Number of parameters.
        operators: Number of operators in the captured program.
    """

    spec: Text
    model: Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    parameters: Annotated[int, Field(ge=0)]
    operators: Annotated[int, Field(ge=0)]


class ArtefactRecord(Record):
    """One converted file.

    Attributes:
        target: Target with variant, such as ``executorch:xnnpack``.
        file: The file.
        precision: ``fp32`` or ``fp16``.
        quantization: Name of the quantization recipe, null for none.
        quantized: How it was quantized, null where it was not.
        simulated: The answers of the simulated quantized network, which parity is held against;
            null where it is held against the model itself.
        inputs: The artefact's own face (int64 may have become int32, an image uint8).
        outputs: Likewise.
        conversion_seconds: Time the converter's process took; null when served from the cache.
        notes: What the converter did that the user should know.
        parity: Null until verified.
        painted: Its pictures against the float model's; null where the model names no styles, or
            nothing was run.
        coverage: Null where nobody can tell.
        profiles: Newest last; one a device and thread count.
    """

    target: str
    file: FileRecord
    precision: Literal["fp32", "fp16"] = "fp32"
    quantization: str | None = None
    quantized: QuantizationRecord | None = None
    simulated: FileRecord | None = None
    inputs: Items[TensorSpec]
    outputs: Items[TensorSpec]
    conversion_seconds: float | None = None
    notes: Items[Text] = []
    parity: ParityRecord | None = None
    painted: PaintedRecord | None = None
    coverage: CoverageRecord | None = None
    profiles: Items[ProfileRecord] = []


class FailureRecord(Record):
    """A target that gave no artefact.

    Attributes:
        target: Target with variant.
        error: Class name in :mod:`edgesdk.errors`.
        message: What is wrong.
        where: File and line in the user's model.
        remedy: What to do next.
        log: The last lines the converter printed.
    """

    target: str
    error: str
    message: Text
    where: Text | None = None
    remedy: Text | None = None
    log: Text = ""


class ReferenceRecord(Record):
    """What proves the artefacts on any machine: the program and samples with expected outputs.

    Attributes:
        program: The captured program (``.pt2``); null where the bundle was written without it.
        samples: Inputs and expected outputs (safetensors).
    """

    program: FileRecord | None = None
    samples: FileRecord


class Manifest(Record):
    """The whole of ``manifest.json``.

    Attributes:
        schema_version: Version of this schema.
        name: Name of the bundle.
        versions: Version of every package that had a part in it.
        source: Where the model came from.
        inputs: The model's own face.
        outputs: Likewise.
        labels: Name of the label set of a classifier, or empty.
        classes: Names of the classes in the order of the logits, where the model brought its own.
        styles: Names of the styles in the order of their shares, where the model names them.
        paintings: What the float model paints in its styles; null where it names none, or nothing
            was run.
        notes: What was done to the model that the user should know (switched to eval, ...).
        cost: What the model costs; null where it cannot be counted.
        sensitivity: What recipes do to the outputs layer by layer, where that was asked for.
        reference: What proves the artefacts.
        artefacts: One record an artefact, in the order asked for.
        failures: Targets that gave none.
    """

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    name: Annotated[str, Field(min_length=1, max_length=200)]
    versions: dict[str, str]
    source: SourceRecord
    inputs: Items[TensorSpec]
    outputs: Items[TensorSpec]
    labels: str = ""
    classes: Items[Text] = []
    styles: Annotated[
        Items[StyleName], Field(max_length=MAX_STYLES), AfterValidator(check_style_names)
    ] = []
    paintings: PaintingsRecord | None = None
    notes: Items[Text] = []
    cost: CostRecord | None = None
    sensitivity: Items[SensitivityRecord] = []
    reference: ReferenceRecord
    artefacts: Annotated[Items[ArtefactRecord], Field(max_length=1000)] = []
    failures: Annotated[Items[FailureRecord], Field(max_length=1000)] = []
