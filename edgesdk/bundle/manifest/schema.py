"""Schema of ``manifest.json``, version 7.

The apps read the same file, so every field is plain JSON. A reader refuses a newer schema; fields
are only added with a new version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edgesdk.bundle.manifest.cost import CostRecord
from edgesdk.bundle.manifest.coverage import CoverageRecord
from edgesdk.bundle.manifest.paintings import PaintedRecord, PaintingsRecord
from edgesdk.bundle.manifest.parity import ParityRecord
from edgesdk.bundle.manifest.profile import ProfileRecord
from edgesdk.bundle.manifest.quantization import DropRecord, QuantizationRecord, SensitivityRecord
from edgesdk.bundle.manifest.record import FileRecord, Items, Record, StyleName, Text
from edgesdk.spec import TensorSpec
from edgesdk.style_names import MAX_STYLES, check_style_names

__all__ = [
    "DEFAULT_VARIANTS",
    "SCHEMA_VERSION",
    "ArtefactRecord",
    "ConstantOutputRecord",
    "FailureRecord",
    "Manifest",
    "ReferenceRecord",
    "RewriteRecord",
    "SourceRecord",
    "artefact_name",
    "artefact_names",
]

#: Incremented whenever an older reader would misread a manifest.
SCHEMA_VERSION = 7

#: Variant of each target that names leave out, the one that ``--to TARGET`` chooses.
DEFAULT_VARIANTS = {
    "coreml": "fp16",
    "executorch": "xnnpack",
    "litert": "fp32",
    "onnx": "fp32",
}


def artefact_name(target: str, recipe: str | None = None) -> str:
    """Return the name of an artefact, as printed and as ``--target`` takes it.

    Args:
        target: Target with variant.
        recipe: Quantization recipe; None or empty for a float artefact.

    >>> artefact_name("onnx:fp32"), artefact_name("onnx:fp32", "w8a8_static")
    ('onnx:fp32', 'onnx w8a8_static')
    """
    if not recipe:
        return target
    family, _, variant = target.partition(":")
    return f"{family if variant == DEFAULT_VARIANTS.get(family) else target} {recipe}"


class SourceRecord(Record):
    """Origin of the model.

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


class RewriteRecord(Record):
    """One operator that was rewritten for a target.

    Attributes:
        operator: Name of the operator, such as ``aten.pad``.
        module: Path of its module in the user's model.
        where: File and line in the user's code.
        reason: Why the target cannot take it as it is.
    """

    operator: Text
    module: Text = ""
    where: Text = ""
    reason: Text


class ArtefactRecord(Record):
    """One converted file.

    Attributes:
        target: Target with variant, such as ``executorch:xnnpack``.
        file: The file.
        precision: ``fp32`` or ``fp16``.
        quantization: Name of the quantization recipe; null for none.
        quantized: Details of the quantization; null for a float artefact.
        simulated: Outputs of the simulated quantized network, which parity compares with; null if
            parity compares with the model itself.
        inputs: Inputs of the artefact (int64 may have become int32, an image uint8).
        outputs: Outputs of the artefact.
        conversion_seconds: Duration of the conversion; null if served from the cache.
        notes: Notes of the converter for the user.
        rewrites: Operators that were rewritten because the target cannot take them.
        parity: Parity; null until verified.
        painted: Paintings compared with the float model's; null if the model names no styles or
            nothing was run.
        coverage: Delegate coverage; null if unknown.
        profiles: Profiles, newest last; one per device and thread count.
        loss: Loss of a quantized artefact against the float model on the samples of parity; null
            if not measured.
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
    rewrites: Items[RewriteRecord] = []
    parity: ParityRecord | None = None
    painted: PaintedRecord | None = None
    coverage: CoverageRecord | None = None
    profiles: Items[ProfileRecord] = []
    loss: DropRecord | None = None


def artefact_names(artefacts: Sequence[ArtefactRecord]) -> list[str]:
    """Return the name of each artefact, in order.

    Names that several artefacts share differ by their precision, or else by their files.
    """
    names = [artefact_name(artefact.target, artefact.quantization) for artefact in artefacts]
    distinctions: tuple[Callable[[ArtefactRecord], str], ...] = (
        lambda artefact: artefact.precision,
        lambda artefact: f"({artefact.file.path})",
    )
    for further in distinctions:
        repeated = Counter(names)
        names = [
            name if repeated[name] == 1 else f"{name} {further(artefact)}"
            for name, artefact in zip(names, artefacts, strict=True)
        ]
    return names


class ConstantOutputRecord(Record):
    """An output of the model that carries no information about its inputs.

    An artefact's parity proves nothing for such an output: any constant would pass.

    Attributes:
        name: Output name.
        kind: ``constant``: equal for all samples, although their inputs differ; ``vanishing``: its
            range is below 1e-6 of the model's activations.
        samples: Number of samples with different inputs.
        variation: Largest difference between two samples.
        magnitude: Largest absolute value of the output if constant; largest root mean square of the
            activations of a layer if vanishing.
    """

    name: Text
    kind: Literal["constant", "vanishing"]
    samples: Annotated[int, Field(ge=1)]
    variation: Annotated[float, Field(ge=0)]
    magnitude: Annotated[float, Field(ge=0)]


class FailureRecord(Record):
    """A target whose conversion failed.

    Attributes:
        target: Target with variant, or name of the quantized artefact: see :func:`artefact_name`.
        error: Class name in :mod:`edgesdk.errors`.
        message: Description of the error.
        where: File and line in the user's model.
        remedy: Suggested next step.
        log: Last lines the converter printed.
    """

    target: str
    error: str
    message: Text
    where: Text | None = None
    remedy: Text | None = None
    log: Text = ""


class ReferenceRecord(Record):
    """Reference for verification on any machine: program and samples with expected outputs.

    Attributes:
        program: The captured program (``.pt2``); null if the bundle was written without it.
        samples: Inputs and expected outputs (safetensors).
    """

    program: FileRecord | None = None
    samples: FileRecord


class Manifest(Record):
    """Content of ``manifest.json``.

    Attributes:
        schema_version: Version of this schema.
        name: Name of the bundle.
        versions: Version of every package involved.
        source: Origin of the model.
        inputs: Inputs of the model.
        outputs: Outputs of the model.
        labels: Name of the label set of a classifier, or empty.
        classes: Class names in the order of the logits, if the model brought its own.
        styles: Style names in the order of their shares, if the model names them.
        paintings: Paintings of the float model; null if it names no styles or nothing was run.
        notes: Changes to the model that the user should know (switched to eval, ...).
        cost: Cost of the model; null if it cannot be counted.
        sensitivity: Effect of recipes on the outputs layer by layer, if requested.
        reference: Program and samples for verification.
        artefacts: One record per artefact, in the requested order.
        failures: Targets whose conversion failed.
        constant_outputs: Outputs whose parity proves nothing, because the samples do not move them.
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
    constant_outputs: Items[ConstantOutputRecord] = []
