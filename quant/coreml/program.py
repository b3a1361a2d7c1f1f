"""Core ML: int8 programs, and weights that coremltools makes small in the converted model."""

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

#: The oldest system that runs a recipe's operators, by the beginning of its name.
_SYSTEMS = (("w8a8", "iOS17"), ("w4", "iOS18"), ("", "iOS16"))
#: MIL operators whose weights are made small.
_CHILDREN = ("conv", "conv_transpose", "gather", "linear", "matmul")


@dataclass(frozen=True)
class CoremlQuantization:
    """One program on its way into a package.

    Attributes:
        program: What to convert in place of the plan's program.
        system: Name of the deployment target, such as ``iOS17``.
        module: The program as a graph; weights of ``program`` belong to it.
        reasons: Why an operator stays float, by node of ``module``.
        float_operators: See :class:`edgesdk.quant.plan.Quantized`.
        notes: What the user should know.
    """

    program: ExportedProgram
    system: str
    module: GraphModule
    reasons: Mapping[str, str] = field(default_factory=dict)
    float_operators: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def quantize_program(plan: QuantPlan) -> CoremlQuantization:
    """Prepare a program for conversion; ``int8`` arithmetic is in it from here on.

    Raises:
        DataError: Calibration data are missing, do not fit the program or hold NaN.
        MissingBackendError: coremltools or torchao is not installed.
        QuantizationError: The program cannot be quantized as asked.
        UnsupportedRecipeError: Core ML has no such quantization.
    """
    require_support("coreml", plan.spec)
    if plan.spec.io_dtype == "int8":
        raise QuantizationError(
            "Core ML passes no int8 at a model's face",
            remedy="leave the face float: the first operator quantizes it",
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
    """Make the weights of a converted model small, where the recipe asks for that.

    Args:
        plan: What to do.
        prepared: What :func:`quantize_program` gave; ``model`` was converted from its program.
        model: A ``coremltools.models.MLModel`` with its MIL program.

    Returns:
        The model to save.

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
    """Layers by the name that coremltools gives the constant of their weights."""
    from edgesdk.quant.pt2e.layers import weight_names, weighted_nodes

    return dict(zip(weight_names(prepared.program), weighted_nodes(prepared.module), strict=True))


def _round(plan: QuantPlan, module: GraphModule) -> None:
    """Round weights before coremltools does, which rounds each alone."""
    from edgesdk.quant.pt2e.layers import weighted_nodes
    from edgesdk.quant.pt2e.rounded_module import round_module, rounds

    weights = plan.spec.weights
    if weights is None or weights.form == "palette":
        return
    precisions = {}
    for layer in weighted_nodes(module):
        fine = _precision(weights, layer)
        # Alone, 8 bits are rounded just as well by coremltools.
        gains = fine.bits < 8 or plan.calibration
        if gains and rounds(layer) and not plan.spec.keeps_float(layer.path):
            precisions[layer.node.name] = fine
    round_module(plan, module, precisions)


def _precision(weights: WeightQuant, layer: WeightedNode) -> WeightPrecision:
    """Bits and block of one layer's weights."""
    from edgesdk.quant.pt2e.rounded_module import WeightPrecision

    by_block = weights.granularity == "block"
    block = _block(weights.block, layer) if by_block else 0
    # Nine weights of a channel cannot be told apart in 4 bits, and are few in all.
    small = layer.operator == "depthwise" or (by_block and not block)
    return WeightPrecision(8) if small else WeightPrecision(weights.bits, block)


def _config(weights: WeightQuant, layer: WeightedNode) -> Any:
    import coremltools.optimize.coreml as optimize

    if weights.form == "palette":
        # Weights of depthwise channels differ in size by orders; they are few in all.
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
    """The largest block that the inputs of a layer can be cut into; 0 where it is no use."""
    if layer.operator == "depthwise" or layer.operator.startswith("conv_transpose"):
        return 0
    inputs = layer.shape[1]
    size = next(size for size in range(min(asked, inputs), 0, -1) if inputs % size == 0)
    return size if size >= asked // 4 else 0


def read_back(plan: QuantPlan, prepared: CoremlQuantization, package: Path) -> Quantized:
    """What a saved package holds, and what its weights answer to the plan's samples.

    Args:
        plan: What was asked for.
        prepared: What :func:`quantize_program` gave.
        package: The saved ``.mlpackage``.

    Raises:
        QuantizationError: Its weights cannot be read.
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
        return "it is another operator in Core ML"
    return prepared.reasons.get(layer.node.name, "coremltools left the weights as they were")
