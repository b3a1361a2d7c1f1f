"""From a request to the plan that a target's quantizer works by, and from its answer to ours."""

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

__all__ = ["with_int8_io", "save_simulated", "temporary_float_artefact", "plan_for"]

#: Operators of a program that have weights, without namespace and overload.
_WEIGHTED = ("conv", "linear", "addmm", "mm", "matmul", "bmm")


def plan_for(request: ConversionRequest, program: ExportedProgram) -> QuantPlan:
    """The plan of a request that quantizes.

    Raises:
        QuantizationError: The request does not quantize.
        BundleDamagedError: Its samples cannot be read.
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
    """Camera bytes as planes, where the program was captured for a target that makes them so."""
    taken = dict(arrays)
    for spec, app_input in zip(request.inputs, request.app_inputs, strict=True):
        if app_input.image is not None and spec.layout == "NCHW":
            planes = arrays[spec.name].transpose(0, 3, 1, 2)
            taken[spec.name] = np.ascontiguousarray(planes.astype(np.float32))
    return taken


def save_simulated(
    request: ConversionRequest, program: ExportedProgram, quantized: Quantized
) -> QuantizedConversion:
    """Write the simulated answers beside the artefact, and say where each layer stands.

    Raises:
        QuantizationError: The quantizer simulated other samples than it was given, or its
            simulation answers NaN or infinity.
    """
    quantization = _required(request)
    samples = Samples.load(quantization.samples)
    if len(quantized.simulated) != len(samples):
        raise QuantizationError(
            f"{len(quantized.simulated)} of {len(samples)} samples were simulated",
            remedy="a fault of this quantizer: please report it with the model",
        )
    for answers in quantized.simulated:
        for name, array in answers.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise QuantizationError(
                    f"the quantized network answers NaN or infinity at {name!r}",
                    remedy="keep the layers before it float, or calibrate on more samples",
                )
    answered = dataclasses.replace(samples, expected=tuple(quantized.simulated))
    _write(answered, quantization)
    places = _places(program)
    return QuantizedConversion(
        tuple(_located(layer, places) for layer in quantized.layers),
        dict(quantized.float_operators),
        quantized.io_scales,
    )


def with_int8_io(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], io_scales: Sequence[IoScale]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The face of an artefact some of whose inputs and outputs are int8.

    Args:
        inputs: The float face.
        outputs: Likewise.
        io_scales: The tensors that are int8.
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
    """The float artefact that a quantizer begins from lasts as long as the block."""
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _required(request: ConversionRequest) -> QuantizationRequest:
    if request.quantization is None:
        raise QuantizationError(f"{request.target} was not asked to quantize")
    return request.quantization


def _write(samples: Samples, quantization: QuantizationRequest) -> None:
    path: Path = quantization.simulated
    samples.save(path)


def _places(program: ExportedProgram) -> dict[str, str]:
    """File and line by module path, of operators with weights."""
    places: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        operator = str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)
        if operator.startswith(_WEIGHTED):
            place = where(node)
            places.setdefault(module_path(node.meta.get("nn_module_stack")), place)
            places.setdefault(node.name, place)
    return places


def _located(layer: QuantizedLayer, places: dict[str, str]) -> QuantizedLayer:
    return dataclasses.replace(layer, where=layer.where or places.get(layer.path, ""))
