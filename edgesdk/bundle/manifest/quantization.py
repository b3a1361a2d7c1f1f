"""The records of a quantized artefact: what became small, from which data, and what it cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import FailFast, Field

from edgesdk.bundle.manifest.record import Count, Record, Share, Text

__all__ = [
    "CalibrationRecord",
    "DropRecord",
    "IoScaleRecord",
    "LayerSensitivityRecord",
    "OperatorErrorRecord",
    "QuantizationRecord",
    "QuantizedLayerRecord",
    "SensitivityRecord",
]


class QuantizedLayerRecord(Record):
    """One operator with weights, as it came out.

    Attributes:
        path: Module path in the model; the node's name for a function without module.
        operator: Operator of the program, such as ``conv2d``.
        weights: Number of its weights.
        bits: Bits of a weight, 32 or 16 where it stayed float.
        activation_bits: Bits its input is computed with; 32 or 16 for floats.
        where: File and line in the user's code.
        reason: Why it stayed float, where it did.
    """

    path: Text
    operator: Text
    weights: Count
    bits: Annotated[int, Field(ge=1, le=64)]
    activation_bits: Annotated[int, Field(ge=1, le=64)] = 32
    where: Text = ""
    reason: Text = ""


class IoScaleRecord(Record):
    """An int8 tensor at the face: ``float = (int8 - zero_point) * scale``.

    Attributes:
        name: Name of the input or output.
        scale: Positive.
        zero_point: -128..127.
    """

    name: Text
    scale: Annotated[float, Field(gt=0)]
    zero_point: Annotated[int, Field(ge=-128, le=127)]


class CalibrationRecord(Record):
    """The data ranges were taken from.

    Attributes:
        method: How a range is chosen from what was seen.
        samples: Number of samples used.
        available: Number of samples there were; fewer are used where the ranges stood still.
        sha256: Digest of the samples used.
        source: Where they came from, in words.
        notes: What the user should know of them.
    """

    method: str
    samples: Count
    available: Count = 0
    sha256: str = ""
    source: Text = ""
    notes: Annotated[list[Text], FailFast()] = []


class LayerSensitivityRecord(Record):
    """What quantizing one layer alone does to the outputs.

    Attributes:
        path: Module path in the model.
        operator: Operator of the program.
        weights: Number of its weights.
        drop: What is lost when it alone is quantized, as a share: see :class:`DropRecord`.
        snr_db: Signal to noise of the outputs, null where nothing changes.
        where: File and line in the user's code.
    """

    path: Text
    operator: Text = ""
    weights: Count = 0
    drop: float | None = None
    snr_db: float | None = None
    where: Text = ""


class DropRecord(Record):
    """What a quantized artefact lost against the float model, measured in its runtime.

    Attributes:
        metric: ``top-1`` on labelled data (points lost), ``agreement`` with the float model's class
            where there are no labels, ``cosine`` where nothing is classified.
        drop: What is lost, as a share: float's top-1 less the artefact's, or one less the
            agreement or the mean cosine. Negative where the artefact is better.
        bound: Largest drop allowed; null for none.
        passed: Whether the bound is met; true without one.
        samples: Number of samples.
        source: Where they came from, in words.
        top1: Share of right classes of the artefact; null without labels.
        float_top1: The float model's.
        agreement: Share of samples with the float model's class; null where it does not classify.
        containment: Share of samples whose five likeliest classes hold the float model's class.
        cosine: Mean cosine similarity with the float model's outputs.
        snr_db: Signal to noise over all samples; null where the difference is exactly zero.
        culprits: The layers whose quantization harms most, the worst first; empty where it was not
            asked for.
    """

    metric: Literal["top-1", "agreement", "cosine"]
    drop: float
    bound: float | None = None
    passed: bool = True
    samples: Count
    source: Text = ""
    top1: Share | None = None
    float_top1: Share | None = None
    agreement: Share | None = None
    containment: Share | None = None
    cosine: float | None = None
    snr_db: float | None = None
    culprits: Annotated[list[LayerSensitivityRecord], FailFast()] = []


class QuantizationRecord(Record):
    """How an artefact was quantized.

    Attributes:
        recipe: Name of the recipe.
        weights: Weights by the bits each takes in the artefact.
        layers: One record an operator with weights, in the order of the program.
        float_layers: Module paths that were kept float on request or to meet a bound.
        float_norms: Module paths that stayed float because they normalise by moments of their own
            input, which fixed ranges do not hold.
        float_operators: Operators that stayed float for want of a kernel, by name with count.
        calibration: Null where no ranges were needed.
        faces: Scales of int8 inputs and outputs.
        drop: Null until measured.
    """

    recipe: str
    weights: dict[int, int] = {}
    layers: Annotated[list[QuantizedLayerRecord], FailFast()] = []
    float_layers: Annotated[list[Text], FailFast()] = []
    float_norms: Annotated[list[Text], FailFast()] = []
    float_operators: dict[str, int] = {}
    calibration: CalibrationRecord | None = None
    faces: Annotated[list[IoScaleRecord], FailFast()] = []
    drop: DropRecord | None = None


class OperatorErrorRecord(Record):
    """How far one operator's result is from the float model's when all before it is quantized.

    Attributes:
        name: The node's name in the program.
        operator: Operator of the program.
        path: Module path in the model.
        where: File and line in the user's code.
        snr_db: Signal to noise of its result; null where nothing differs.
        lost_db: What it loses against the worst of the results it is made from; null where that
            cannot be told.
    """

    name: Text
    operator: Text
    path: Text = ""
    where: Text = ""
    snr_db: float | None = None
    lost_db: float | None = None


class SensitivityRecord(Record):
    """What a recipe does to the outputs, layer by layer, simulated.

    Attributes:
        recipe: Name of the recipe.
        samples: Number of samples it was simulated on.
        layers: Every layer, the most harmful first.
        operators: Every operator with floating results, in the order of the program.
    """

    recipe: str
    samples: Count
    layers: Annotated[list[LayerSensitivityRecord], FailFast()] = []
    operators: Annotated[list[OperatorErrorRecord], FailFast()] = []
