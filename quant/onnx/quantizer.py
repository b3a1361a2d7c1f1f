"""Quantizer of ONNX models, for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgesdk.errors import QuantizationError, UnknownNameError
from edgesdk.quant.layer_names import lies_below
from edgesdk.quant.onnx.calibration import observe_ranges
from edgesdk.quant.onnx.dynamic import make_dynamic
from edgesdk.quant.onnx.graph import OnnxGraph, is_quantized, read_model
from edgesdk.quant.onnx.half import in_half_precision
from edgesdk.quant.onnx.int8_io import dequantize_output, make_int8_io, quantize_input
from edgesdk.quant.onnx.kernels import float_operators
from edgesdk.quant.onnx.layers import OnnxLayer, find_layers, node_paths, read_layers
from edgesdk.quant.onnx.simulation import missing_operators, simulate
from edgesdk.quant.onnx.static import make_static, ranged_tensors
from edgesdk.quant.onnx.weights import SHORT_ROW, WeightStore, round_weights, shift_biases
from edgesdk.quant.plan import Arrays, IoScale, Quantized, QuantPlan
from edgesdk.quant.spec import QuantSpec
from edgesdk.quant.support import require_support

__all__ = ["quantize"]


def quantize(artefact: Path, output: Path, plan: QuantPlan) -> Quantized:
    """Quantize an ONNX model.

    If the plan has calibration samples, rounding compensates errors within a row, in weight-only
    and dynamic recipes too.

    Args:
        artefact: Float model, converted from the plan's program.
        output: Quantized model to write.
        plan: Quantization plan.

    Raises:
        DataError: Calibration samples are missing or invalid.
        MissingBackendError: ``onnx`` or ``onnxruntime`` is not installed.
        QuantizationError: The model is quantized already or cannot be quantized.
        UnknownNameError: A layer to keep float does not exist.
        UnsupportedRecipeError: ONNX Runtime does not support the recipe.
    """
    spec = plan.spec
    require_support("onnx", spec)
    model = read_model(artefact)
    if is_quantized(model):
        raise QuantizationError(
            f"{artefact.name} is already quantized", remedy="quantize the float model"
        )
    graph = OnnxGraph(model)
    layers = find_layers(graph, plan.program)
    if not layers:
        raise QuantizationError(
            "the model has no operator with constant weights to quantize", remedy="leave it float"
        )
    kept = _kept_nodes(graph, layers, spec)
    quantized = [layer for layer in layers if layer.node not in kept]
    reasons = {layer.node: spec.why_float(layer.path) for layer in layers if layer.node in kept}
    io_scales: tuple[IoScale, ...] = ()
    if spec.precision == "fp16":
        graph = in_half_precision(graph, kept)
    else:
        graph, io_scales, more = _with_integers(graph, quantized, kept, plan)
        reasons |= more
    graph.save(output)
    found = read_layers(graph, layers, reasons)
    missing = missing_operators(graph.model)
    return Quantized(
        layers=found,
        float_operators=float_operators(graph, kept) if spec.static else {},
        simulated=tuple(
            _simulated(graph.model, sample, io_scales, plan)
            for sample in (() if missing else plan.samples)
        ),
        io_scales=io_scales,
        notes=tuple(_notes(found, spec)),
        not_simulated=missing,
    )


def _kept_nodes(graph: OnnxGraph, layers: Sequence[OnnxLayer], spec: QuantSpec) -> set[str]:
    paths = node_paths(graph) | {layer.node: layer.path for layer in layers}
    for asked in spec.float_layers:
        if not any(lies_below(path, (asked,)) for path in paths.values()):
            raise UnknownNameError("layer", asked, {layer.path for layer in layers})
    return {name for name, path in paths.items() if path and spec.keeps_float(path)}


def _with_integers(
    graph: OnnxGraph, layers: list[OnnxLayer], kept: set[str], plan: QuantPlan
) -> tuple[OnnxGraph, tuple[IoScale, ...], dict[str, str]]:
    spec = plan.spec
    if spec.weights is None:
        raise QuantizationError(
            f"{spec.name} does not store weights as integers", remedy="use a named recipe"
        )
    if spec.static and spec.weights.block:
        raise QuantizationError(
            "ONNX Runtime's integer kernels need one scale per output channel, not per block",
            remedy="use granularity='channel'",
        )
    ranges: dict[str, tuple[float, float]] = {}
    if spec.static and spec.activations is not None:
        ranges = observe_ranges(
            graph, ranged_tensors(graph), plan.calibration, spec.ranges, spec.activations.bits
        )
    rounded = round_weights(graph, layers, spec.weights, plan.calibration)
    shift_biases(graph, layers, rounded.shifts)
    if spec.static and spec.activations is not None:
        graph, reasons = make_static(
            graph, layers, rounded, ranges, spec.activations.bits, sorted(kept)
        )
        io_scales = make_int8_io(graph, ranges) if spec.io_dtype == "int8" else ()
        return graph, io_scales, reasons
    if spec.dynamic:
        return graph, (), make_dynamic(graph, layers, rounded)
    store = WeightStore(graph)
    for layer in layers:
        store.put(layer, rounded.rows[layer.node], rounded.bits[layer.node])
    graph.replace({})
    return graph, (), {}


def _simulated(
    model: Any, sample: Arrays, io_scales: tuple[IoScale, ...], plan: QuantPlan
) -> Arrays:
    """Simulate one sample; int8 inputs and outputs are converted from and to floats."""
    scales = {one.name: one for one in io_scales}
    inputs = {
        name: quantize_input(array, scales[name]) if name in scales else array
        for name, array in sample.items()
        if name in plan.inputs
    }
    answers = simulate(model, inputs)
    return {
        name: dequantize_output(answers[name], scales[name]) if name in scales else answers[name]
        for name in plan.outputs
    }


def _notes(layers: Sequence[Any], spec: QuantSpec) -> list[str]:
    notes = []
    bits = spec.weights.bits if spec.weights else 8
    wide = [layer for layer in layers if layer.bits == 8 and bits < 8]
    if wide:
        notes.append(
            f"{len(wide)} layers with fewer than {SHORT_ROW} weights per output channel have "
            "8-bit weights"
        )
    if spec.activations is not None and spec.activations.bits == 16:
        notes.append("ONNX Runtime computes 16-bit activations in floats, rounded to 16 bits")
    elif spec.static:
        notes.append(
            "on x86 processors without VNNI set session.x64quantprecision=1 in ONNX Runtime: "
            "its default kernels saturate sums of 8-bit products there"
        )
    return notes
