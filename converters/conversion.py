"""What goes into a converter and what comes out, as plain data that crosses a process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgesdk.bundle.manifest import CoverageRecord
from edgesdk.errors import DynamicShapeError
from edgesdk.quant.plan import FaceScale, QuantizedLayer
from edgesdk.quant.spec import QuantSpec
from edgesdk.spec import TensorSpec

__all__ = [
    "Conversion",
    "ConversionRequest",
    "QuantizationRequest",
    "QuantizedConversion",
    "check_free_dimensions",
    "narrowed",
]


@dataclass(frozen=True)
class QuantizationRequest:
    """How a conversion quantizes.

    Attributes:
        spec: What and how finely.
        calibration: Inputs that ranges are taken from, as the model's face takes them (see
            :func:`edgesdk.quant.array_file.load_arrays`); None where none are needed.
        samples: Inputs whose simulated answers are wanted
            (:class:`edgesdk.bundle.samples.Samples`), likewise.
        simulated: Where the samples go with the simulated answers.
    """

    spec: QuantSpec
    calibration: Path | None
    samples: Path
    simulated: Path


@dataclass(frozen=True)
class QuantizedConversion:
    """What a quantizer did, without the answers; see :class:`edgesdk.quant.plan.Quantized`.

    Attributes:
        layers: Operators with weights, in the order of the program.
        float_operators: Operators that stayed float for want of a kernel, by name with count.
        faces: Scales of int8 inputs and outputs.
    """

    layers: tuple[QuantizedLayer, ...]
    float_operators: dict[str, int] = field(default_factory=dict)
    faces: tuple[FaceScale, ...] = ()


@dataclass(frozen=True)
class ConversionRequest:
    """One conversion.

    Attributes:
        target: Target name without variant.
        variant: Its variant.
        program: The captured program (``.pt2``).
        output: Where to write the artefact.
        inputs: The program's inputs.
        outputs: The program's outputs.
        faces: The inputs as seen from outside; another than ``inputs`` where the target types an
            image itself (Core ML) and the program takes its planes.
        coverage: Whether to find out the delegate coverage.
        quantization: How to quantize; None for a float artefact.
    """

    target: str
    variant: str
    program: Path
    output: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    faces: tuple[TensorSpec, ...]
    coverage: bool = True
    quantization: QuantizationRequest | None = None


@dataclass(frozen=True)
class Conversion:
    """What a converter made.

    Attributes:
        inputs: The artefact's own face.
        outputs: Likewise.
        precision: ``fp32`` or ``fp16``.
        notes: What the converter did that the user should know.
        coverage: Delegate coverage, where it was asked for.
        steps: Seconds a step, by name.
        quantized: What was quantized; None for a float artefact.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str = "fp32"
    notes: tuple[str, ...] = ()
    coverage: CoverageRecord | None = None
    steps: dict[str, float] = field(default_factory=dict)
    quantized: QuantizedConversion | None = None


def narrowed(spec: TensorSpec, dtypes: dict[str, str]) -> TensorSpec:
    """The spec with its dtype replaced where the target has another one."""
    return replace(spec, dtype=dtypes.get(spec.dtype, spec.dtype))


def check_free_dimensions(
    target: str, inputs: tuple[TensorSpec, ...], found: dict[str, list[Any]]
) -> None:
    """Make sure that every dimension that was asked to stay free is free in the artefact.

    Args:
        target: Target name, for the message.
        inputs: What was asked for.
        found: By input name, one entry an axis: an integer where the artefact fixed it.

    Raises:
        DynamicShapeError: The target froze one.
    """
    for spec in inputs:
        for axis, dim in spec.dynamic.items():
            sizes = found.get(spec.name)
            if sizes is not None and isinstance(sizes[axis], int) and sizes[axis] >= 0:
                raise DynamicShapeError(
                    f"{target} froze dimension {dim.name!r} of input {spec.name!r} "
                    f"at {sizes[axis]}",
                    remedy=f"export {target} without --dynamic, one artefact a shape",
                )
