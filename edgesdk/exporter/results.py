"""Results of an export's parts: a target that gave an artefact, and one that gave none."""

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
        samples: What parity is measured on.
        samples_sha256: Its digest.
        calibration: Inputs that ranges and the rounding of weights are taken from, as the model's
            face takes them; None where there are none.
        calibration_sha256: Digest of ``calibration``.
    """

    samples: Path
    samples_sha256: str
    calibration: Path | None = None
    calibration_sha256: str = ""


@dataclass(frozen=True)
class ConvertedArtefact:
    """A target that gave an artefact.

    Attributes:
        target: Target with variant.
        path: The artefact.
        sha256: Its digest.
        conversion: What the converter said of it.
        seconds: What the conversion cost; null where the cache served it.
        parity: Artefact against the model, once verified; of a quantized one, against the
            simulated quantized network.
        spec: How it was quantized; None for a float artefact.
        simulated: The samples with the simulated network's answers.
        drop: What it lost against the float model, once measured.
        painted: Its pictures against the float model's, of a model that names its styles.
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
    painted: PaintedRecord | None = None


@dataclass(frozen=True)
class FailedTarget:
    """A target that gave none.

    Attributes:
        target: Target with variant, and the recipe where it should have been quantized.
        error: Why.
        log: The converter's last words.
    """

    target: str
    error: EdgeSdkError
    log: str = ""
