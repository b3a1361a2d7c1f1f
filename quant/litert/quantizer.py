"""Quantizer of LiteRT models: ``ai_edge_quantizer`` on a float ``.tflite``."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.errors import (
    DataError,
    EdgeSdkError,
    MissingBackendError,
    QuantizationError,
    UnknownNameError,
)
from edgesdk.quant.layer_names import lies_below, module_stack
from edgesdk.quant.litert.calibration import Calibration, calibrate, checked_samples, measurable
from edgesdk.quant.litert.file import LitertModel, read_model
from edgesdk.quant.litert.layers import LitertLayer, layer_paths, read_layers, weighted_operators
from edgesdk.quant.litert.recipes import vendor_recipe, weight_bits
from edgesdk.quant.litert.regions import float_region, fragile_region, norm_region, scope
from edgesdk.quant.litert.simulation import Simulation, missing_operators
from edgesdk.quant.litert.weights import round_weights
from edgesdk.quant.plan import IoScale, Quantized, QuantPlan
from edgesdk.quant.ranges import scale_and_zero_point
from edgesdk.quant.spec import QuantSpec
from edgesdk.quant.support import require_support

__all__ = ["quantize"]

_TARGET = "litert"
#: Operators that only convert between floats and integers.
_BETWEEN = frozenset({"DEQUANTIZE", "QUANTIZE"})
#: LiteRT treats a scale as a power of two if its logarithm is within 0.001 of an integer. Distance
#: to avoid, and the factor that widens a range out of it.
_NEARLY, _WIDER = 0.002, 1.005


@dataclass(frozen=True)
class _Float:
    """The float artefact, its layers, and the operators that stay float."""

    path: Path
    model: LitertModel
    layers: list[LitertLayer]
    paths: list[str]
    kept: set[int]
    fragile: set[int]

    @property
    def changed(self) -> list[LitertLayer]:
        """Quantized layers."""
        return [layer for layer in self.layers if layer.operator.index not in self.kept]


def quantize(artefact: Path, output: Path, plan: QuantPlan) -> Quantized:
    """Quantize a float artefact.

    If the plan has calibration samples, rounding of weights uses them too, not only ranges.

    Args:
        artefact: Float ``.tflite``, converted from the plan's program.
        output: Quantized ``.tflite`` to write.
        plan: Quantization plan.

    Returns:
        Result, read back from ``output``.

    Raises:
        DataError: Calibration samples are missing, do not fit or are not finite.
        MissingBackendError: ``ai_edge_quantizer`` or ``ai_edge_litert`` is not installed.
        QuantizationError: The artefact is quantized already or cannot be quantized.
        UnknownNameError: ``float_layers`` holds an unknown module.
        UnsupportedRecipeError: LiteRT does not support the recipe.
    """
    require_support(_TARGET, plan.spec)
    model = read_model(artefact)
    _refuse_quantized(artefact, model)
    layers = weighted_operators(model)
    if not layers and not plan.spec.static:
        raise QuantizationError(
            "the model has no operator with constant weights to quantize",
            remedy=f"leave it float: {plan.spec.name} changes weights only",
        )
    paths = layer_paths(model, plan.program)
    weighted = {layer.operator.index for layer in layers}
    fragile = fragile_region(model, weighted) if plan.spec.static else set()
    if plan.spec.float_norms:
        fragile |= norm_region(model, weighted)
    kept = _kept(plan, model, layers, paths)
    floats = _Float(artefact, model, layers, paths, kept, fragile - kept)
    measured = _measured(floats, plan)
    content, ranges = _prepared(floats, plan.spec, measured)
    _run_vendor(content, output, floats, plan.spec, ranges)
    return _read_back(output, floats, plan)


def _refuse_quantized(path: Path, model: LitertModel) -> None:
    rounded = [tensor.name for tensor in model.tensors if tensor.quantized]
    half = any(operator.name in _BETWEEN for operator in model.operators)
    if rounded or half:
        raise QuantizationError(
            f"{path.name} is already quantized",
            remedy="quantize the float artefact of the model",
        )


def _kept(
    plan: QuantPlan, model: LitertModel, layers: Sequence[LitertLayer], paths: Sequence[str]
) -> set[int]:
    modules = {path for node in plan.program.graph.nodes for path in module_stack(node)}
    known = modules | set(paths)
    for path in plan.spec.float_layers:
        if not any(lies_below(name, (path,)) for name in known):
            raise UnknownNameError("layer", path, known)
    kept = {
        layer.operator.index
        for layer, path in zip(layers, paths, strict=True)
        if plan.spec.keeps_float(path)
    }
    if not plan.spec.static:
        return kept
    return float_region(model, {layer.operator.index for layer in layers}, kept)


def _measured(floats: _Float, plan: QuantPlan) -> Calibration:
    spec = plan.spec
    if spec.static and not plan.calibration:
        raise DataError(
            f"{spec.name} needs calibration samples, but none were given",
            remedy="give calibration samples",
        )
    samples = checked_samples(floats.model, plan.calibration, "calibration sample")
    if not samples or spec.weights is None:
        return Calibration()
    found = calibrate(
        *(floats.path, floats.model, samples),
        tensors=measurable(floats.model) if spec.static else (),
        layers=floats.changed,
        method=spec.ranges,
        bits=spec.activations.bits if spec.activations is not None else 8,
    )
    return replace(found, ranges=_avoid_powers_of_two(found.ranges, spec))


def _prepared(
    floats: _Float, spec: QuantSpec, measured: Calibration
) -> tuple[bytes, dict[str, dict[str, np.ndarray]]]:
    """Return the file with rounded weights, and the calibration result for the vendor."""
    content = floats.path.read_bytes()
    if spec.weights is None:
        return content, {}
    changed = floats.changed
    rounded = round_weights(
        *(content, floats.model),
        {layer.operator.index: weight_bits(spec, layer.operator.name) for layer in changed},
        changed,
        moments=measured.moments,
        input_scales=_input_scales(changed, spec, measured),
    )
    ranges = dict(rounded.ranges)
    for index, (low, high) in measured.ranges.items():
        tensor = floats.model.tensors[index]
        shape = (1,) * len(tensor.shape)
        ranges[tensor.name] = {
            "min": np.full(shape, low, np.float32),
            "max": np.full(shape, high, np.float32),
        }
    return bytes(rounded.content), ranges


def _avoid_powers_of_two(
    ranges: dict[int, tuple[float, float]], spec: QuantSpec
) -> dict[int, tuple[float, float]]:
    """Widen 16-bit ranges whose scales are nearly powers of two.

    If all scales of a sum are such, LiteRT computes it by shifts, and refuses the file if it had to
    shift to the left, as for an image of 0..1 minus 0.5.
    """
    if spec.activations is None or spec.activations.bits != 16:
        return ranges
    found = {}
    for index, (low, high) in ranges.items():
        scale, _ = scale_and_zero_point(low, high, bits=16, symmetric=True)
        power = math.log2(scale)
        wider = _WIDER if abs(power - round(power)) < _NEARLY else 1.0
        found[index] = (wider * low, wider * high)
    return found


def _input_scales(
    layers: Sequence[LitertLayer], spec: QuantSpec, measured: Calibration
) -> dict[int, float]:
    if not spec.static or spec.activations is None:
        return {}
    bits = spec.activations.bits
    return {
        layer.operator.index: scale_and_zero_point(
            *measured.ranges[layer.activation], bits=bits, symmetric=bits == 16
        )[0]
        for layer in layers
        if layer.activation in measured.ranges
    }


def _run_vendor(
    content: bytes,
    output: Path,
    floats: _Float,
    spec: QuantSpec,
    ranges: dict[str, dict[str, np.ndarray]],
) -> None:
    kept = [
        scope(floats.model, operator)
        for operator in floats.model.operators
        if operator.index in floats.kept | floats.fragile
    ]
    try:
        from ai_edge_quantizer.quantizer import Quantizer
    except ImportError as error:
        raise MissingBackendError("ai_edge_quantizer", "litert") from error
    with _vendor_errors(spec):
        quantizer = Quantizer(bytearray(content), vendor_recipe(spec, kept))
        result = quantizer.quantize(
            ranges or None, enable_progress_bar=False, enable_progress_report=False
        )
        quantized = bytes(result.quantized_model)
    output.write_bytes(quantized)


@contextmanager
def _vendor_errors(spec: QuantSpec) -> Iterator[None]:
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # It draws progress bars, and the interpreter warns that all tensors are kept.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except EdgeSdkError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise QuantizationError(
            f"ai_edge_quantizer failed on {spec.name}: {first}",
            remedy="keep the layers it names float with --keep-float, or choose another recipe",
        ) from error
    finally:
        logger.setLevel(level)


def _read_back(output: Path, floats: _Float, plan: QuantPlan) -> Quantized:
    model = read_model(output)
    spec = plan.spec
    samples = [
        {name: sample[name] for name in model.inputs}
        for sample in checked_samples(floats.model, plan.samples, "sample")
    ]
    io_scales = _io_scales(model, plan)
    layers = read_layers(model, floats.paths, _reasons(floats, plan.spec))
    missing = missing_operators(model)
    simulation = Simulation(output) if samples and not missing else None
    return Quantized(
        layers,
        _float_operators(model, floats) if spec.static else {},
        tuple(simulation.run(sample) for sample in samples) if simulation else (),
        io_scales,
        tuple(_notes(model, layers, spec)),
        missing,
    )


def _reasons(floats: _Float, spec: QuantSpec) -> dict[str, str]:
    """Return the reasons for layers that stay float, by path."""
    return {
        path: spec.why_float(path)
        if layer.operator.index in floats.kept
        else f"LiteRT has no integer kernel of {layer.operator.name} for this layer"
        for layer, path in zip(floats.layers, floats.paths, strict=True)
    }


def _float_operators(model: LitertModel, floats: _Float) -> dict[str, int]:
    asked = {scope(floats.model, floats.model.operators[index]) for index in floats.kept}
    weighted = {layer.operator.index for layer in weighted_operators(model)}
    found: Counter[str] = Counter()
    for operator in model.operators:
        if operator.name in _BETWEEN or operator.index in weighted:
            continue
        if operator.name == "CAST" and "INT" in model.tensors[operator.inputs[0]].dtype:
            continue
        computes = [
            index
            for index in operator.outputs
            if model.tensors[index].dtype == "FLOAT32" and scope(model, operator) not in asked
        ]
        found[operator.name] += bool(computes)
    return {name: count for name, count in sorted(found.items()) if count}


def _io_scales(model: LitertModel, plan: QuantPlan) -> tuple[IoScale, ...]:
    if plan.spec.io_dtype != "int8":
        return ()
    found = []
    for names in (model.inputs, model.outputs):
        for name, index in names.items():
            tensor = model.tensors[index]
            if tensor.dtype in ("FLOAT32", "INT16"):
                raise QuantizationError(
                    f"{name!r} cannot be int8: it stayed {tensor.dtype.lower()}",
                    remedy="use --io-dtype float",
                )
            if tensor.quantized:
                scale, zero = float(tensor.scales[0]), int(tensor.zero_points[0])
                found.append(IoScale(name, scale, zero))
    return tuple(found)


def _notes(model: LitertModel, layers: Sequence[Any], spec: QuantSpec) -> Iterator[str]:
    if spec.weights is None:
        yield "weights are in half precision; the CPU computes in single precision"
        return
    wide = [layer for layer in layers if spec.weights.bits < layer.bits <= 8]
    if wide:
        kinds = ", ".join(sorted({layer.operator for layer in wide}))
        yield (
            f"{len(wide)} layers have {wide[0].bits}-bit weights: LiteRT has no kernels for "
            f"{spec.weights.bits}-bit weights of {kinds} in this recipe"
        )
    if spec.weights.bits < 8 and any(layer.operator == "conv2d" for layer in layers):
        yield "XNNPACK has no convolutions with 4-bit weights: the interpreter's slower ones run"
    if spec.activations is not None and spec.activations.bits == 16:
        yield "XNNPACK has no 16-bit kernels: the interpreter's slower ones run"
