"""Results of the targets of an export: converted or failed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgesdk.bundle.manifest import DropRecord, PaintedRecord, ParityRecord
from edgesdk.converters.conversion import Conversion
from edgesdk.errors import EdgeSdkError
from edgesdk.quant.spec import QuantSpec

__all__ = ["ConvertedArtefact", "FailedTarget", "QuantizationData"]


@dataclass(frozen=True)
class QuantizationData:
    """The files that quantized conversions of one export share.

    Attributes:
        samples: File of samples that parity is measured on.
        samples_sha256: Digest of ``samples``.
        calibration: Inputs that set ranges and the rounding of weights, as an app would pass them;
            None if there are none.
        calibration_sha256: Digest of ``calibration``.
    """

    samples: Path
    samples_sha256: str
    calibration: Path | None = None
    calibration_sha256: str = ""


@dataclass(frozen=True)
class ConvertedArtefact:
    """A target that was converted.

    Attributes:
        target: Target with variant.
        path: The artefact.
        sha256: Digest of the artefact.
        conversion: Report of the converter.
        seconds: Duration of the conversion; None if it came from the cache.
        parity: Parity with the model, once verified; for a quantized artefact, with the simulated
            quantized network.
        spec: Its quantization; None for a float artefact.
        simulated: The samples with the outputs of the simulated network.
        drop: Accuracy drop against the float model on evaluation data, once measured.
        loss: Loss of a quantized artefact against the float model on the samples of parity.
        painted: Paintings against the float model's, if the model names its styles.
    """

    target: str
    path: Path
    sha256: str
    conversion: Conversion
    seconds: float | None
    parity: ParityRecord | None = None
    spec: QuantSpec | None = None
    simulated: Path | None = None
    drop: DropRecord | None = None
    loss: DropRecord | None = None
    painted: PaintedRecord | None = None


@dataclass(frozen=True)
class FailedTarget:
    """A target that failed.

    Attributes:
        target: Target with variant, and the recipe if it was to be quantized.
        error: The error.
        log: Last output of the converter.
    """

    target: str
    error: EdgeSdkError
    log: str = ""
