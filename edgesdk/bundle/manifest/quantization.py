"""Records of a quantized artefact: bit widths, calibration data and accuracy drop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgesdk.bundle.manifest.record import Count, Items, Record, Share, Text

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
    """One operator with weights, as quantized.

    Attributes:
        path: Module path in the model; the node's name for a function without module.
        operator: Operator of the program, such as ``conv2d``.
        weights: Number of weights.
        bits: Bits per weight; 32 or 16 if it stayed float.
        activation_bits: Bits of its input; 32 or 16 for floats.
        where: File and line in the user's code.
        reason: Reason why it stayed float, if it did.
    """

    path: Text
    operator: Text
    weights: Count
    bits: Annotated[int, Field(ge=1, le=64)]
    activation_bits: Annotated[int, Field(ge=1, le=64)] = 32
    where: Text = ""
    reason: Text = ""


class IoScaleRecord(Record):
    """An int8 input or output: ``float = (int8 - zero_point) * scale``.

    Attributes:
        name: Name of the input or output.
        scale: Positive scale.
        zero_point: Zero point, -128..127.
    """

    name: Text
    scale: Annotated[float, Field(gt=0)]
    zero_point: Annotated[int, Field(ge=-128, le=127)]


class CalibrationRecord(Record):
    """Data that calibrated the ranges.

    Attributes:
        method: Method that chooses a range from the observed values.
        samples: Number of samples used.
        available: Number of samples available; fewer are used once the ranges are stable.
        sha256: Digest of the samples used.
        source: Origin of the samples in words.
        notes: Notes for the user.
    """

    method: str
    samples: Count
    available: Count = 0
    sha256: str = ""
    source: Text = ""
    notes: Items[Text] = []


class LayerSensitivityRecord(Record):
    """Effect on the outputs of quantizing one layer alone.

    Attributes:
        path: Module path in the model.
        operator: Operator of the program.
        weights: Number of weights.
        drop: Accuracy drop when it alone is quantized, as a share: see :class:`DropRecord`.
        snr_db: Signal to noise ratio of the outputs in dB; null if nothing changes.
        where: File and line in the user's code.
    """

    path: Text
    operator: Text = ""
    weights: Count = 0
    drop: float | None = None
    snr_db: float | None = None
    where: Text = ""


class DropRecord(Record):
    """Accuracy drop of a quantized artefact against the float model, measured in its runtime.

    Attributes:
        metric: ``top-1`` on labelled data, ``agreement`` with the float model's class without
            labels, ``cosine`` if the model does not classify.
        drop: Drop as a share: the float model's top-1 minus the artefact's, or one minus the
            agreement or the mean cosine. Negative if the artefact is better.
        bound: Largest drop allowed; null for none.
        passed: True if the bound is met or there is none.
        samples: Number of samples.
        source: Origin of the samples in words.
        top1: Top-1 accuracy of the artefact; null without labels.
        float_top1: Top-1 accuracy of the float model; null without labels.
        agreement: Share of samples with the float model's class; null if it does not classify.
        containment: Share of samples whose top-5 classes contain the float model's class.
        cosine: Mean cosine similarity with the float model's outputs.
        snr_db: Signal to noise ratio over all samples in dB; null if the difference is zero.
        culprits: Layers whose quantization harms most, worst first; empty if not requested.
        degenerate: Reason why the evaluation says little about the artefact; empty for none.
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
    culprits: Items[LayerSensitivityRecord] = []
    degenerate: Text = ""


class QuantizationRecord(Record):
    """Quantization of an artefact.

    Attributes:
        recipe: Name of the recipe.
        weights: Number of weights by bit width.
        layers: One record per operator with weights, in program order.
        float_layers: Module paths kept float on request or to meet a bound.
        float_norms: Module paths kept float because they normalize by moments of their own input,
            which fixed ranges cannot represent.
        float_operators: Number of operators that stayed float for lack of a kernel, by name.
        calibration: Calibration data; null if no ranges were needed.
        faces: Scales of int8 inputs and outputs.
        drop: Accuracy drop; null until measured.
    """

    recipe: str
    weights: dict[int, int] = {}
    layers: Items[QuantizedLayerRecord] = []
    float_layers: Items[Text] = []
    float_norms: Items[Text] = []
    float_operators: dict[str, int] = {}
    calibration: CalibrationRecord | None = None
    faces: Items[IoScaleRecord] = []
    drop: DropRecord | None = None


class OperatorErrorRecord(Record):
    """Error of one operator's result when everything before it is quantized.

    Attributes:
        name: Name of the node in the program.
        operator: Operator of the program.
        path: Module path in the model.
        where: File and line in the user's code.
        snr_db: Signal to noise ratio of its result in dB; null if nothing differs.
        lost_db: Loss in dB against the worst of its inputs; null if unknown.
    """

    name: Text
    operator: Text
    path: Text = ""
    where: Text = ""
    snr_db: float | None = None
    lost_db: float | None = None


class SensitivityRecord(Record):
    """Simulated effect of a recipe on the outputs, layer by layer.

    Attributes:
        recipe: Name of the recipe.
        samples: Number of simulated samples.
        layers: All layers, most harmful first.
        operators: All operators with floating-point results, in program order.
    """

    recipe: str
    samples: Count
    layers: Items[LayerSensitivityRecord] = []
    operators: Items[OperatorErrorRecord] = []
