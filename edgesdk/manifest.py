"""The schema of ``manifest.json``, version 5: what a bundle says of itself.

The apps read the same file, so every field is plain JSON. A reader refuses a newer schema; fields
are only added with a new version.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field

from edgesdk.manifest_cost import CostRecord, LayerCostRecord
from edgesdk.manifest_file import FileRecord
from edgesdk.manifest_paintings import (
    PaintedPictureRecord,
    PaintedRecord,
    PaintingsRecord,
    ThumbnailRecord,
)
from edgesdk.manifest_quantization import (
    CalibrationRecord,
    DropRecord,
    FaceScaleRecord,
    LayerHarmRecord,
    OperatorGapRecord,
    QuantizationRecord,
    QuantizedLayerRecord,
    SensitivityRecord,
)
from edgesdk.spec import TensorSpec
from edgesdk.style_names import MAX_STYLE_NAME, MAX_STYLES, check_style_names

__all__ = [
    "SCHEMA_VERSION",
    "ArtefactRecord",
    "CalibrationRecord",
    "CostRecord",
    "CoverageRecord",
    "DropRecord",
    "FaceScaleRecord",
    "FailureRecord",
    "FileRecord",
    "GateRecord",
    "LayerCostRecord",
    "LayerHarmRecord",
    "LeftOperator",
    "Manifest",
    "OperatorGapRecord",
    "OperatorTime",
    "OutputParity",
    "PaintedPictureRecord",
    "PaintedRecord",
    "PaintingsRecord",
    "ParityRecord",
    "Percentiles",
    "ProfileRecord",
    "QuantizationRecord",
    "QuantizedLayerRecord",
    "ReferenceRecord",
    "SensitivityRecord",
    "SourceRecord",
    "ThumbnailRecord",
]

#: Raised whenever a reader of the version before would misread a manifest.
SCHEMA_VERSION = 5

_Item = TypeVar("_Item")
# The first wrong item of a list ends its reading: a million wrong ones cost no million errors.
_List = Annotated[list[_Item], FailFast()]
_Text = Annotated[str, Field(max_length=20_000)]
_StyleName = Annotated[str, Field(min_length=1, max_length=MAX_STYLE_NAME)]


class _Record(BaseModel):
    # NaN and infinity are no JSON: a figure that does not exist is null.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SourceRecord(_Record):
    """Where the model came from.

    Attributes:
        spec: SOURCE as the user wrote it, or the class name for a model given in Python.
        model: Qualified class name of the model.
        sha256: Content hash of the captured program: graph, source lines, weights, constants.
        parameters: Number of parameters.
        operators: Number of operators in the captured program.
    """

    spec: _Text
    model: _Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    parameters: Annotated[int, Field(ge=0)]
    operators: Annotated[int, Field(ge=0)]


class GateRecord(_Record):
    """The bounds parity was held against.

    Attributes:
        cosine: Smallest cosine similarity, 0..1.
        relative_error: Largest ``max abs difference / range of the expected output``.
        agreement: Smallest share of samples with the same top-1 class; null where the model does
            not classify.
    """

    cosine: float
    relative_error: float
    agreement: float | None = None


class OutputParity(_Record):
    """How far one output of the artefact is from the model's, worst over the samples.

    Attributes:
        name: Output name.
        max_abs: Largest absolute difference.
        range: Largest minus smallest expected value over all samples.
        relative_error: ``max_abs / range``; ``max_abs`` itself where the range is zero.
        cosine: Smallest cosine similarity over the samples.
        snr_db: Smallest signal to noise ratio in dB; null where the difference is exactly zero.
        agreement: Share of samples (rows) with the same top-1 class; null if it is no classifier.
        finite: Whether every value of the artefact is finite.
    """

    name: str
    max_abs: float | None
    range: float
    relative_error: float | None
    cosine: float | None
    snr_db: float | None
    agreement: float | None
    finite: bool = True


class ParityRecord(_Record):
    """Artefact against eager on the same inputs.

    Attributes:
        passed: Whether every output met the gate.
        runtime: Runtime that executed the artefact, with version, such as ``onnxruntime 1.31.1``.
        evaluator: True where no native runtime exists here and an evaluator stood in.
        note: What the runtime or evaluator proves, in words.
        samples: Number of samples compared, of which ``real`` came from files.
        real: Number of samples from real files.
        gate: The bounds.
        outputs: One record an output.
        shapes: Further input shapes at which a dynamic artefact was run and compared.
        classes: Top-1 class of eager and artefact a real sample, where the model classifies.
        failure: Why nothing could be compared, where the runtime refused the artefact.
        samples_sha256: Digest of the inputs and expected outputs.
    """

    passed: bool
    runtime: str
    evaluator: bool = False
    note: _Text = ""
    samples: int
    real: int
    gate: GateRecord
    outputs: _List[OutputParity] = []
    shapes: _List[str] = []
    classes: _List[tuple[str, str, str]] = []
    failure: _Text | None = None
    samples_sha256: str = ""


class LeftOperator(_Record):
    """An operator that the delegate did not take.

    Attributes:
        operator: Its name in the artefact.
        count: How often, for the same reason at the same place.
        reason: ``not supported``, ``dynamic shape``, ``dtype``, ``partition too small``,
            ``constraint`` or ``unknown``.
        detail: The delegate's own words or ours.
        module: Path of the module in the user's model.
        where: File and line in the user's code.
        rewrite: The known form that the delegate takes.
    """

    operator: str
    count: int = 1
    reason: Literal[
        "not supported", "dynamic shape", "dtype", "partition too small", "constraint", "unknown"
    ]
    detail: _Text = ""
    module: _Text = ""
    where: _Text = ""
    rewrite: _Text = ""


class CoverageRecord(_Record):
    """Delegate coverage: which operators the accelerator took and which it left.

    Attributes:
        delegate: Name of the delegate or execution provider.
        method: How this was found out: read from the artefact, asked of the runtime, or predicted.
        delegated: Operators taken, by name with count.
        left: Operators left, with reasons.
        partitions: Number of delegated pieces.
        complete: Whether everything that computes was taken.
        planned_bytes: Memory the artefact plans for its activations, where it says so.
        also: Coverage by further delegates of the same artefact (Core ML or NNAPI for ONNX).
    """

    delegate: str
    method: _Text = ""
    delegated: dict[str, int] = {}
    left: _List[LeftOperator] = []
    partitions: int = 0
    complete: bool = False
    planned_bytes: int | None = None
    also: _List[CoverageRecord] = []


class Percentiles(_Record):
    """Milliseconds over the timed runs."""

    p10: float
    p50: float
    p90: float
    p99: float
    mean: float
    min: float
    max: float


class OperatorTime(_Record):
    """Time of one operator of the artefact.

    Attributes:
        name: Its name in the artefact.
        operator: Its type.
        milliseconds: Median over the profiled runs.
        share: Part of the sum over all operators, 0..1.
        where: File and line in the user's code, where known.
    """

    name: str
    operator: str
    milliseconds: float
    share: float = 0.0
    where: _Text = ""


class ProfileRecord(_Record):
    """One artefact measured on one device.

    Attributes:
        device: Device identifier, such as ``local``.
        device_name: Processor or phone in words.
        runtime: Runtime with version.
        evaluator: True where the figures are an evaluator's and say nothing of the device.
        protocol: The protocol in words: cold loads, warm-ups, runs, interleaving.
        threads: Threads the runtime was given.
        runs: Timed runs.
        load_ms: Median of the cold loads, a fresh process each.
        first_run_ms: The first inference after loading.
        latency: Percentiles of the timed runs.
        peak_memory_bytes: Largest resident set of the process that ran it.
        model_memory_bytes: The part of the peak that loading and running the artefact added.
        operators: Time an operator, most expensive first; empty where the runtime gives none.
        operators_note: Where the operator times come from, or why there are none.
        temperature_c: Before and after, where the device tells.
        measured: ISO 8601 time of the measurement.
    """

    device: str
    device_name: str
    runtime: str
    evaluator: bool = False
    protocol: _Text = ""
    threads: int
    runs: int
    load_ms: float
    first_run_ms: float
    latency: Percentiles
    peak_memory_bytes: int
    model_memory_bytes: int | None = None
    operators: _List[OperatorTime] = []
    operators_note: _Text = ""
    temperature_c: tuple[float, float] | None = None
    measured: str = ""


class ArtefactRecord(_Record):
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
    inputs: _List[TensorSpec]
    outputs: _List[TensorSpec]
    conversion_seconds: float | None = None
    notes: _List[_Text] = []
    parity: ParityRecord | None = None
    painted: PaintedRecord | None = None
    coverage: CoverageRecord | None = None
    profiles: _List[ProfileRecord] = []


class FailureRecord(_Record):
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
    message: _Text
    where: _Text | None = None
    remedy: _Text | None = None
    log: _Text = ""


class ReferenceRecord(_Record):
    """What proves the artefacts on any machine: the program and samples with expected outputs.

    Attributes:
        program: The captured program (``.pt2``); null where the bundle was written without it.
        samples: Inputs and expected outputs (safetensors).
    """

    program: FileRecord | None = None
    samples: FileRecord


class Manifest(_Record):
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
    inputs: _List[TensorSpec]
    outputs: _List[TensorSpec]
    labels: str = ""
    classes: _List[_Text] = []
    styles: Annotated[
        _List[_StyleName], Field(max_length=MAX_STYLES), AfterValidator(check_style_names)
    ] = []
    paintings: PaintingsRecord | None = None
    notes: _List[_Text] = []
    cost: CostRecord | None = None
    sensitivity: _List[SensitivityRecord] = []
    reference: ReferenceRecord
    artefacts: Annotated[_List[ArtefactRecord], Field(max_length=1000)] = []
    failures: Annotated[_List[FailureRecord], Field(max_length=1000)] = []
