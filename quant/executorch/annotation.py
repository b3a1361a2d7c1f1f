"""ExecuTorch's XNNPACK quantizer, extended by our ranges, float layers and fused clamps."""

from __future__ import annotations

from typing import Any

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import PlaceholderObserver
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationConfig,
    QuantizationSpec,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from edgesdk.quant.executorch.four_bits import rewrite_linear
from edgesdk.quant.executorch.layout import layout_is_safe
from edgesdk.quant.layer_names import layer_path
from edgesdk.quant.plan import QuantPlan
from edgesdk.quant.pt2e.folding import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    constant_of,
    store_constant,
)
from edgesdk.quant.pt2e.layers import float_operators, is_depthwise, weighted_nodes
from edgesdk.quant.pt2e.observers import ActivationObserver, PerChannelWeightObserver
from edgesdk.quant.pt2e.rounded_module import WeightPrecision, round_module, rounds
from edgesdk.quant.spec import QuantSpec, WeightQuant

__all__ = ["PlanQuantizer"]

_aten = torch.ops.aten
_LINEAR = _aten.linear.default
_CLAMPS = (_aten.hardtanh.default, _aten.relu.default)
_LAYERS = (_LINEAR, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS)
_BINARY = (_aten.add.Tensor, _aten.mul.Tensor)
#: XNNPACK refuses a sum if an input scale is outside these multiples of the output scale.
_LEAST_RATIO, _LARGEST_RATIO = 2.0**-9, 2.0**7
_LAYOUT_LOST = "ExecuTorch would lose the memory layout of this convolution's input"
#: Accumulators and biases have 32 bits.
_LARGEST_BIAS = 2.0**30


class PlanQuantizer(XNNPACKQuantizer):
    """Annotates a graph for XNNPACK according to a plan.

    Args:
        plan: Quantization plan.

    Attributes:
        reasons: Reasons for operators that stay float, by node.
        float_operators: Number of operators without int8 kernel, by name.
        notes: Remarks for the user.
    """

    def __init__(self, plan: QuantPlan) -> None:
        super().__init__()
        self._plan, self._spec = plan, plan.spec
        self._four_bit_names: set[str] = set()
        self.notes: list[str] = []
        self.reasons: dict[str, str] = {}
        self.float_operators: dict[str, int] = {}
        self._config = _config(plan.spec)
        self.set_global(self._config)

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        """Convert numbers in sums and products to tensors, which static ranges need."""
        return super().transform_for_annotation(model) if self._spec.static else model

    def rewrite(self, module: GraphModule) -> None:
        """Round weights, and convert suitable layers to 4-bit linear layers."""
        if self._spec.weights is not None and self._spec.weights.bits == 4:
            self._four_bit_names = rewrite_linear(self._plan, module)
            self.notes.append(
                "linear layers and 1x1 convolutions have 4-bit weights with a scale for every 32 "
                "inputs; other convolutions have 8 bits or stay float"
            )
        if self._plan.calibration:
            round_module(
                self._plan,
                module,
                {
                    layer.node.name: WeightPrecision(8)
                    for layer in weighted_nodes(module)
                    if layer.bits == 32 and rounds(layer) and not self._why_float(layer.node)
                },
            )

    def annotate(self, model: GraphModule) -> GraphModule:
        """Annotate a graph; the vendor's rules skip nodes annotated here."""
        for node in model.graph.nodes:
            if node.name in self._four_bit_names:
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(_annotated=True)
                continue
            reason = self._why_float(node) if node.op == "call_function" else ""
            if reason:
                self.reasons[node.name] = reason
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(_annotated=True)
        for node in model.graph.nodes:
            if node.op == "call_function" and Q_ANNOTATION_KEY not in node.meta:
                if self._spec.static:
                    self._annotate(node)
                elif node.target in _LAYERS:
                    # The vendor's rules skip layers followed by an activation.
                    self._annotate_layer(node)
        annotated: GraphModule = super().annotate(model)
        self.float_operators = float_operators(annotated) if self._spec.static else {}
        return annotated

    def _why_float(self, node: Node) -> str:
        """Return the reason why an operator stays float; empty if the vendor's rules decide."""
        reason = self._spec.why_float(layer_path(node))
        if reason:
            return reason
        if node.target in TRANSPOSED_CONVOLUTIONS:
            groups = node.args[6] if len(node.args) > 6 else 1
            if groups != 1:
                return "XNNPACK has no int8 transposed convolution with groups"
            if self._spec.dynamic and not layout_is_safe(node):
                return _LAYOUT_LOST
        if node.target in CONVOLUTIONS:
            shape = node.args[1].meta["val"].shape
            if len(shape) == 5:
                return "XNNPACK has no convolution in three dimensions"
            if self._spec.dynamic and is_depthwise(node, shape):
                return "XNNPACK has no dynamic depthwise convolution"
            if self._spec.dynamic and len(shape) != 4:
                return "XNNPACK has dynamic convolutions in two dimensions only"
            if self._spec.dynamic and not layout_is_safe(node):
                return _LAYOUT_LOST
        return ""

    def _annotate(self, node: Node) -> None:
        if node.target in _CLAMPS:
            self._annotate_clamp(node)
        elif node.target is _aten.constant_pad_nd.default and _is_zero_padding(node):
            # Padding only copies integers, so it shares the scale of its input.
            self._set_annotation(node, SharedQuantizationSpec((node.args[0], node)))
        elif node.target is _aten.mean.dim or _is_global_pool(node):
            # Means are much smaller than their input, and get their own scale.
            self._set_annotation(node, self._config.output_activation)

    def _set_annotation(self, node: Node, output: Any) -> None:
        node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            input_qspec_map={node.args[0]: self._config.input_activation},
            output_qspec=output,
            _annotated=True,
        )

    def _annotate_layer(self, layer: Node) -> None:
        axis = int(layer.target in TRANSPOSED_CONVOLUTIONS)
        layer.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            input_qspec_map={
                layer.args[0]: self._config.input_activation,
                layer.args[1]: _weights(axis),
            },
            _annotated=True,
        )

    def _annotate_clamp(self, clamp: Node) -> None:
        """Annotate a layer and its clamp as one kernel: only the clamp's output has a range."""
        layer = clamp.args[0]
        if not isinstance(layer, Node) or len(layer.users) != 1:
            return
        if Q_ANNOTATION_KEY in layer.meta:
            return
        if layer.target in _LAYERS:
            self._annotate_layer(layer)
        elif layer.target in _BINARY and all(_is_float(item) for item in layer.args):
            layer.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
                input_qspec_map=dict.fromkeys(layer.args, self._config.input_activation),
                _annotated=True,
            )
        else:
            return
        clamp.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            output_qspec=self._config.output_activation, _annotated=True
        )

    def fit(self, prepared: GraphModule) -> None:
        """Widen ranges to the limits of the kernels, after calibration."""
        if not self._spec.static:
            return
        # A shared observer has one name per tensor.
        modules = dict(prepared.named_modules(remove_duplicate=False))
        changed = True
        while changed:
            changed = False
            for node in prepared.graph.nodes:
                if (node.op == "call_function" and node.target in _BINARY) or (
                    node.op == "call_function" and node.target is _aten.mean.dim
                ):
                    changed |= _fit_binary(node, modules)
        for node in prepared.graph.nodes:
            if node.op == "call_function" and node.target in _LAYERS:
                _fit_bias(prepared, node, modules)
        prepared.recompile()


def _is_float(item: Any) -> bool:
    value = item.meta.get("val") if isinstance(item, Node) else None
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32


def _is_zero_padding(node: Node) -> bool:
    fill = node.args[2] if len(node.args) > 2 else 0
    return fill == 0 and all(end >= 0 for end in node.args[1])


def _is_global_pool(node: Node) -> bool:
    if node.target is not _aten.adaptive_avg_pool2d.default:
        return False
    return all(size == 1 for size in node.args[1])


def _observer(node: Any, modules: dict[str, Any]) -> Any:
    """Return the observer of an observer node; None for other nodes."""
    if isinstance(node, Node) and node.op == "call_module":
        return modules.get(str(node.target))
    return None


def _given(node: Node, modules: dict[str, Any]) -> ActivationObserver | None:
    """Return the observer of an operator's output, behind its clamp if it has one."""
    users = list(node.users)
    while len(users) == 1 and users[0].target in _CLAMPS:
        users = list(users[0].users)
    for user in users:
        observer = _observer(user, modules)
        if isinstance(observer, ActivationObserver):
            return observer
    return None


def _fit_binary(node: Node, modules: dict[str, Any]) -> bool:
    given = _given(node, modules)
    taken = [_observer(item, modules) for item in node.args[:2]]
    taken = [item for item in taken if isinstance(item, ActivationObserver)]
    if given is None or not taken:
        return False
    changed = False
    output = given.scale_and_zero_point()[0]
    if node.target is _aten.mul.Tensor:
        product = 1.0
        for item in taken:
            product *= item.scale_and_zero_point()[0]
        return given.raise_scale(product / _LARGEST_RATIO)
    for item in taken:
        scale = item.scale_and_zero_point()[0]
        changed |= given.raise_scale(scale / _LARGEST_RATIO)
        changed |= item.raise_scale(output * _LEAST_RATIO)
    return changed


def _fit_bias(prepared: GraphModule, node: Node, modules: dict[str, Any]) -> None:
    taken, weight = (_observer(item, modules) for item in node.args[:2])
    bias = constant_of(prepared, node.args[2]) if len(node.args) > 2 else None
    if isinstance(taken, ActivationObserver) and isinstance(weight, PerChannelWeightObserver):
        scale = taken.scale_and_zero_point()[0]
        if bias is not None:
            weight.raise_scales(bias.abs() / (scale * _LARGEST_BIAS))
            # XNNPACK adds integers; make the graph add the same values.
            step = weight.calculate_qparams()[0].double() * scale
            rounded = ((bias / step).round() * step).to(bias.dtype)
            name = f"{node.args[2].target}_rounded"
            stored = store_constant(prepared, node, name, rounded, node.args[2])
            node.update_arg(2, stored)
        given = _given(node, modules)
        if given is not None:
            scales, _ = weight.calculate_qparams()
            given.raise_scale(float(scales.max()) * scale / _LARGEST_RATIO)


def _weights(axis: int) -> QuantizationSpec:
    # Operators other than linear layers have 8-bit kernels only.
    weights = WeightQuant(8)
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-weights.largest,
        quant_max=weights.largest,
        qscheme=torch.per_channel_symmetric,
        ch_axis=axis,
        observer_or_fake_quant_ctr=PerChannelWeightObserver.with_args(bits=weights.bits),
    )


def _config(spec: QuantSpec) -> QuantizationConfig:
    observer = (
        PlaceholderObserver.with_args(eps=2**-24)
        if spec.dynamic
        else ActivationObserver.with_args(method=spec.ranges, bits=8)
    )
    activation = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        is_dynamic=spec.dynamic,
        observer_or_fake_quant_ctr=observer,
    )
    output = None if spec.dynamic else activation
    return QuantizationConfig(activation, output, _weights(0), None, False)
