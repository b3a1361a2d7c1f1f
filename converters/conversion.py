"""Requests to converters and their results, as plain data that crosses a process boundary."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgesdk.bundle.manifest import CoverageRecord
from edgesdk.errors import DynamicShapeError
from edgesdk.quant.plan import IoScale, QuantizedLayer
from edgesdk.quant.spec import QuantSpec
from edgesdk.spec import TensorSpec

__all__ = [
    "Conversion",
    "ConversionRequest",
    "QuantizationRequest",
    "QuantizedConversion",
    "Rewrite",
    "check_free_dimensions",
    "narrowed",
]


@dataclass(frozen=True)
class QuantizationRequest:
    """Quantization of one conversion.

    Attributes:
        spec: Recipe.
        calibration: Calibration inputs in the model's signature (see
            :func:`edgesdk.quant.array_file.load_arrays`); None if the recipe needs none.
        samples: Inputs to simulate (:class:`edgesdk.bundle.samples.Samples`), in the same form.
        simulated: File to write the samples and their simulated outputs to.
    """

    spec: QuantSpec
    calibration: Path | None
    samples: Path
    simulated: Path


@dataclass(frozen=True)
class QuantizedConversion:
    """Result of a quantizer without its outputs; see :class:`edgesdk.quant.plan.Quantized`.

    Attributes:
        layers: Operators with weights, in the order of the program.
        float_operators: Number of operators that stayed float because no kernel exists, by name.
        io_scales: Scales of the int8 inputs and outputs.
        not_simulated: Operators that the simulation lacks; no outputs were simulated then.
    """

    layers: tuple[QuantizedLayer, ...]
    float_operators: dict[str, int] = field(default_factory=dict)
    io_scales: tuple[IoScale, ...] = ()
    not_simulated: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConversionRequest:
    """Request for one conversion.

    Attributes:
        target: Target name without variant.
        variant: Variant of the target.
        program: Captured program (``.pt2``).
        output: Artefact to write.
        inputs: The program's inputs.
        outputs: The program's outputs.
        app_inputs: Inputs as the app passes them. They differ from ``inputs`` if the target has an
            image type of its own (Core ML) and the program takes planes.
        coverage: True to determine the delegate coverage.
        quantization: Quantization; None for a float artefact.
    """

    target: str
    variant: str
    program: Path
    output: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    app_inputs: tuple[TensorSpec, ...]
    coverage: bool = True
    quantization: QuantizationRequest | None = None


@dataclass(frozen=True)
class Rewrite:
    """One operator that was rewritten.

    Attributes:
        operator: Its name, such as ``aten.pad``.
        module: Path of its module in the user's model.
        where: File and line in the user's code.
        reason: Why.
    """

    operator: str
    module: str
    where: str
    reason: str


@dataclass(frozen=True)
class Conversion:
    """Result of a converter.

    Attributes:
        inputs: Inputs of the artefact.
        outputs: Outputs of the artefact.
        precision: ``fp32`` or ``fp16``.
        notes: Remarks for the user.
        coverage: Delegate coverage; None if not requested.
        steps: Seconds per step, by name.
        quantized: Result of the quantizer; None for a float artefact.
        rewrites: Operators that were rewritten, because the target cannot take them.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str = "fp32"
    notes: tuple[str, ...] = ()
    coverage: CoverageRecord | None = None
    steps: dict[str, float] = field(default_factory=dict)
    quantized: QuantizedConversion | None = None
    rewrites: tuple[Rewrite, ...] = ()


def narrowed(spec: TensorSpec, dtypes: dict[str, str]) -> TensorSpec:
    """Return the spec with the dtype that the target uses in place of its own."""
    return replace(spec, dtype=dtypes.get(spec.dtype, spec.dtype))


def check_free_dimensions(
    target: str, inputs: tuple[TensorSpec, ...], found: dict[str, list[Any]]
) -> None:
    """Check that every dimension requested as free is free in the artefact.

    Args:
        target: Target name, for the message.
        inputs: Requested inputs.
        found: Axes of the artefact by input name: an integer for each fixed axis.

    Raises:
        DynamicShapeError: The target fixed one of them.
    """
    for spec in inputs:
        for axis, dim in spec.dynamic.items():
            sizes = found.get(spec.name)
            if sizes is not None and isinstance(sizes[axis], int) and sizes[axis] >= 0:
                raise DynamicShapeError(
                    f"{target} froze dimension {dim.name!r} of input {spec.name!r} "
                    f"at {sizes[axis]}",
                    remedy=f"export {target} without --dynamic, one artefact per shape",
                )
