"""Adapters between conversion requests, quantization plans and quantizer results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgesdk.bundle.samples import Samples
from edgesdk.converters.conversion import (
    ConversionRequest,
    QuantizationRequest,
    QuantizedConversion,
)
from edgesdk.errors import QuantizationError
from edgesdk.frontend.provenance import module_path, where
from edgesdk.quant.array_file import load_arrays
from edgesdk.quant.plan import Arrays, IoScale, Quantized, QuantizedLayer, QuantPlan
from edgesdk.spec import TensorSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = [
    "plan_for",
    "save_simulated",
    "temporary_float_artefact",
    "with_int8_io",
]

#: Prefixes of the names of operators with weights, without namespace and overload.
_WEIGHTED = ("conv", "linear", "addmm", "mm", "matmul", "bmm")


def plan_for(request: ConversionRequest, program: ExportedProgram) -> QuantPlan:
    """Return the quantization plan of a request.

    Raises:
        QuantizationError: The request has no quantization.
        BundleDamagedError: The samples cannot be read.
    """
    quantization = _required(request)
    calibration: Sequence[Arrays] = ()
    if quantization.calibration is not None:
        calibration = load_arrays(quantization.calibration)
    samples = Samples.load(quantization.samples).inputs
    return QuantPlan(
        spec=quantization.spec,
        program=program,
        inputs=tuple(spec.name for spec in request.inputs),
        outputs=tuple(spec.name for spec in request.outputs),
        calibration=[_as_program_takes(arrays, request) for arrays in calibration],
        samples=[_as_program_takes(arrays, request) for arrays in samples],
    )


def _as_program_takes(arrays: Arrays, request: ConversionRequest) -> Arrays:
    """Convert camera bytes to planes if the program was captured for planes."""
    taken = dict(arrays)
    for spec, app_input in zip(request.inputs, request.app_inputs, strict=True):
        if app_input.image is not None and spec.layout == "NCHW":
            planes = arrays[spec.name].transpose(0, 3, 1, 2)
            taken[spec.name] = np.ascontiguousarray(planes.astype(np.float32))
    return taken


def save_simulated(
    request: ConversionRequest, program: ExportedProgram, quantized: Quantized
) -> QuantizedConversion:
    """Write the simulated outputs beside the artefact, and add source lines to the layers.

    Raises:
        QuantizationError: The number of simulated samples is wrong, or a simulated output holds
            NaN or infinity.
    """
    quantization = _required(request)
    samples = Samples.load(quantization.samples)
    if not quantized.not_simulated and len(quantized.simulated) != len(samples):
        raise QuantizationError(
            f"the quantizer simulated {len(quantized.simulated)} of {len(samples)} samples",
            remedy="this is a bug of the quantizer: please report it with the model",
        )
    for answers in quantized.simulated:
        for name, array in answers.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise QuantizationError(
                    f"output {name!r} of the quantized network holds NaN or infinity",
                    remedy="keep the layers in front of it float, or calibrate with more samples",
                )
    if not quantized.not_simulated:
        answered = dataclasses.replace(samples, expected=tuple(quantized.simulated))
        _write(answered, quantization)
    lines = _source_lines(program)
    return QuantizedConversion(
        tuple(_with_source_line(layer, lines) for layer in quantized.layers),
        dict(quantized.float_operators),
        quantized.io_scales,
        quantized.not_simulated,
    )


def with_int8_io(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], io_scales: Sequence[IoScale]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the inputs and outputs of an artefact, some of them int8.

    Args:
        inputs: Inputs of the float artefact.
        outputs: Outputs of the float artefact.
        io_scales: Scales of the int8 tensors.
    """
    names = {one.name for one in io_scales}

    def narrowed(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        return tuple(
            dataclasses.replace(spec, dtype="int8") if spec.name in names else spec
            for spec in specs
        )

    return narrowed(inputs), narrowed(outputs)


@contextmanager
def temporary_float_artefact(path: Path) -> Iterator[None]:
    """Delete the float artefact that a quantizer starts from when the block ends."""
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _required(request: ConversionRequest) -> QuantizationRequest:
    if request.quantization is None:
        raise QuantizationError(f"the request for {request.target} has no quantization")
    return request.quantization


def _write(samples: Samples, quantization: QuantizationRequest) -> None:
    path: Path = quantization.simulated
    samples.save(path)


def _source_lines(program: ExportedProgram) -> dict[str, str]:
    """Return file and line of operators with weights, by module path."""
    lines: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        operator = str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)
        if operator.startswith(_WEIGHTED):
            place = where(node)
            lines.setdefault(module_path(node.meta.get("nn_module_stack")), place)
            lines.setdefault(node.name, place)
    return lines


def _with_source_line(layer: QuantizedLayer, lines: dict[str, str]) -> QuantizedLayer:
    return dataclasses.replace(layer, where=layer.where or lines.get(layer.path, ""))
