"""Core ML quantization: int8 programs, and weight compression of the converted model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesdk.errors import MissingBackendError, QuantizationError
from edgesdk.quant.plan import Quantized, QuantizedLayer, QuantPlan
from edgesdk.quant.support import require_support

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

    from edgesdk.quant.coreml.package import PackedWeights
    from edgesdk.quant.pt2e.layers import WeightedNode
    from edgesdk.quant.pt2e.rounded_module import WeightPrecision
    from edgesdk.quant.spec import WeightQuant

__all__ = ["CoremlQuantization", "compress_model", "quantize_program", "read_back"]

#: Oldest system that runs a recipe's operators, by prefix of the recipe's name.
_SYSTEMS = (("w8a8", "iOS17"), ("w4", "iOS18"), ("", "iOS16"))
#: MIL operators whose weights are compressed.
_CHILDREN = ("conv", "conv_transpose", "gather", "linear", "matmul")


@dataclass(frozen=True)
class CoremlQuantization:
    """A program prepared for conversion.

    Attributes:
        program: Program to convert in place of the plan's program.
        system: Name of the deployment target, such as ``iOS17``.
        module: The program as a graph; it holds the weights of ``program``.
        reasons: Reasons for operators that stay float, by node of ``module``.
        float_operators: See :class:`edgesdk.quant.plan.Quantized`.
        notes: Remarks for the user.
    """

    program: ExportedProgram
    system: str
    module: GraphModule
    reasons: Mapping[str, str] = field(default_factory=dict)
    float_operators: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def quantize_program(plan: QuantPlan) -> CoremlQuantization:
    """Prepare a program for conversion, with ``int8`` arithmetic if the recipe has it.

    Raises:
        DataError: Calibration data are missing, do not fit the program or hold NaN.
        MissingBackendError: coremltools or torchao is not installed.
        QuantizationError: The program cannot be quantized with this recipe.
        UnsupportedRecipeError: Core ML does not support the recipe.
    """
    require_support("coreml", plan.spec)
    if plan.spec.io_dtype == "int8":
        raise QuantizationError(
            "Core ML does not support int8 inputs and outputs",
            remedy="use --io-dtype float: the first operator quantizes the input",
        )
    for package in ("coremltools", "torchao"):
        _require(package)
    from edgesdk.quant.pt2e.conversion import export_again, quantize_pt2e
    from edgesdk.quant.pt2e.folding import folded_module

    system = next(name for start, name in _SYSTEMS if plan.spec.name.startswith(start))
    if plan.spec.static:
        from edgesdk.quant.coreml.annotation import CoremlQuantizer

        quantizer = CoremlQuantizer(plan.spec, lambda module: _round(plan, module))
        reference = quantize_pt2e(plan, quantizer)
        return CoremlQuantization(
            reference.program,
            system,
            reference.module,
            quantizer.reasons,
            quantizer.float_operators,
        )
    module = folded_module(plan.program)
    _round(plan, module)
    return CoremlQuantization(export_again(plan, module), system, module)


def _require(package: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise MissingBackendError(package, "coreml")


def compress_model(plan: QuantPlan, prepared: CoremlQuantization, model: Any) -> Any:
    """Compress the weights of a converted model, if the recipe says so.

    Args:
        plan: Quantization plan.
        prepared: Result of :func:`quantize_program`; ``model`` was converted from its program.
        model: A ``coremltools.models.MLModel`` with its MIL program.

    Returns:
        Model to save.

    Raises:
        QuantizationError: coremltools failed.
    """
    weights = plan.spec.weights
    if weights is None or (plan.spec.static and weights.bits == 8):
        return model
    import coremltools.optimize.coreml as optimize

    from edgesdk.quant.pt2e.conversion import vendor_errors

    found = optimize.get_weights_metadata(model, weight_threshold=0)
    layers = _by_weight(prepared)
    configs = {}
    for name, data in found.items():
        layer = layers.get(name.removesuffix("_to_fp16"))
        if layer is None or plan.spec.keeps_float(layer.path):
            continue
        if any(child.op_type in _CHILDREN for child in data.child_ops):
            configs[name] = _config(weights, layer)
    if not configs:
        return model
    config = optimize.OptimizationConfig(op_name_configs=configs)
    make = (
        optimize.palettize_weights
        if weights.form == "palette"
        else optimize.linear_quantize_weights
    )
    with vendor_errors("coremltools cannot compress the weights", "choose another recipe"):
        return make(model, config)


def _by_weight(prepared: CoremlQuantization) -> dict[str, WeightedNode]:
    """Return layers by the name that coremltools gives to their weights."""
    from edgesdk.quant.pt2e.layers import weight_names, weighted_nodes

    return dict(zip(weight_names(prepared.program), weighted_nodes(prepared.module), strict=True))


def _round(plan: QuantPlan, module: GraphModule) -> None:
    """Round weights with error compensation, which coremltools lacks."""
    from edgesdk.quant.pt2e.layers import weighted_nodes
    from edgesdk.quant.pt2e.rounded_module import round_module, rounds

    weights = plan.spec.weights
    if weights is None or weights.form == "palette":
        return
    precisions = {}
    for layer in weighted_nodes(module):
        fine = _precision(weights, layer)
        # Without data, coremltools rounds 8 bits just as well.
        gains = fine.bits < 8 or plan.calibration
        if gains and rounds(layer) and not plan.spec.keeps_float(layer.path):
            precisions[layer.node.name] = fine
    round_module(plan, module, precisions)


def _precision(weights: WeightQuant, layer: WeightedNode) -> WeightPrecision:
    """Return bits and block size of one layer's weights."""
    from edgesdk.quant.pt2e.rounded_module import WeightPrecision

    by_block = weights.granularity == "block"
    block = _block(weights.block, layer) if by_block else 0
    # Depthwise channels have few weights, which 4 bits would represent too coarsely.
    small = layer.operator == "depthwise" or (by_block and not block)
    return WeightPrecision(8) if small else WeightPrecision(weights.bits, block)


def _config(weights: WeightQuant, layer: WeightedNode) -> Any:
    import coremltools.optimize.coreml as optimize

    if weights.form == "palette":
        # Depthwise channels differ in magnitude by orders, and have few weights.
        bits = 8 if layer.operator == "depthwise" else weights.bits
        return optimize.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=0)
    fine = _precision(weights, layer)
    return optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype=f"int{fine.bits}",
        granularity="per_block" if fine.block else "per_channel",
        block_size=fine.block or 32,
        weight_threshold=0,
    )


def _block(asked: int, layer: WeightedNode) -> int:
    """Return the largest block size that divides a layer's inputs; 0 if blocks do not help."""
    if layer.operator == "depthwise" or layer.operator.startswith("conv_transpose"):
        return 0
    inputs = layer.shape[1]
    size = next(size for size in range(min(asked, inputs), 0, -1) if inputs % size == 0)
    return size if size >= asked // 4 else 0


def read_back(plan: QuantPlan, prepared: CoremlQuantization, package: Path) -> Quantized:
    """Read a saved package, and simulate its weights on the plan's samples.

    Args:
        plan: Quantization plan.
        prepared: Result of :func:`quantize_program`.
        package: The saved ``.mlpackage``.

    Raises:
        QuantizationError: The weights cannot be read.
    """
    from edgesdk.quant.coreml.package import packed_weights
    from edgesdk.quant.pt2e.layers import replace_weight, weighted_nodes
    from edgesdk.quant.pt2e.simulation import simulate

    module = copy.deepcopy(prepared.module)
    left = packed_weights(package)
    layers = []
    for layer in list(weighted_nodes(module)):
        packed = next((item for item in left if item.values.shape == layer.shape), None)
        bits, taken = layer.bits, layer.activation_bits
        if packed is not None:
            left.remove(packed)
            bits = packed.bits
            taken = bits if bits >= 16 else packed.input_bits
            replace_weight(module, layer, packed.values)
        layers.append(
            QuantizedLayer(
                path=layer.path,
                operator=layer.operator,
                weights=layer.weights,
                bits=bits,
                activation_bits=taken,
                reason=_reason(plan, prepared, layer, packed) if bits >= 16 else "",
            )
        )
    module.recompile()
    return Quantized(
        layers=tuple(layers),
        float_operators=dict(prepared.float_operators),
        simulated=simulate(plan, module),
        notes=prepared.notes,
    )


def _reason(
    plan: QuantPlan, prepared: CoremlQuantization, layer: WeightedNode, packed: PackedWeights | None
) -> str:
    if plan.spec.weights is None:
        return ""
    reason = plan.spec.why_float(layer.path)
    if reason:
        return reason
    if packed is None:
        return "Core ML converted it to another operator"
    return prepared.reasons.get(layer.node.name, "coremltools did not compress its weights")
