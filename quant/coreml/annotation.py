"""Annotation of int8 operators for Core ML: layers with their activation, sums, products, pools.

ExecuTorch's annotator for Core ML matches only patterns with a bias and without transposed
convolution, and needs another package; these rules are the same, node by node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from edgesdk.quant.layer_names import layer_path
from edgesdk.quant.pt2e.folding import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from edgesdk.quant.pt2e.layers import float_operators
from edgesdk.quant.pt2e.observers import ActivationObserver, PerChannelWeightObserver
from edgesdk.quant.spec import QuantSpec, WeightQuant

__all__ = ["CoremlQuantizer"]

_aten = torch.ops.aten
_LAYERS = (_aten.linear.default, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS)
_BINARY = (_aten.add.Tensor, _aten.mul.Tensor, _aten.matmul.default)
#: Activations fused with the layer in front of them.
_ACTIVATIONS = (
    _aten.elu.default,
    _aten.gelu.default,
    _aten.hardsigmoid.default,
    _aten.hardswish.default,
    _aten.hardtanh.default,
    _aten.leaky_relu.default,
    _aten.relu.default,
    _aten.sigmoid.default,
    _aten.silu.default,
    _aten.tanh.default,
)
#: Operators whose output shares the scale of their input.
_SHARING = (
    _aten.adaptive_avg_pool2d.default,
    _aten.avg_pool2d.default,
    _aten.constant_pad_nd.default,
    _aten.max_pool2d.default,
    _aten.permute.default,
    _aten.view.default,
)


class CoremlQuantizer(Quantizer):
    """Annotates a graph for Core ML according to a recipe.

    Args:
        spec: Recipe.
        rewrite: Called with the float graph before annotation, to change it.

    Attributes:
        reasons: Reasons for operators that stay float, by node.
        float_operators: Number of operators that stay float, by name.
    """

    def __init__(self, spec: QuantSpec, rewrite: Callable[[GraphModule], object]) -> None:
        super().__init__()
        self._spec = spec
        self.reasons: dict[str, str] = {}
        self.float_operators: dict[str, int] = {}
        self.rewrite: Callable[[GraphModule], object] = rewrite
        self._activation = QuantizationSpec(
            dtype=torch.int8,
            quant_min=-128,
            quant_max=127,
            qscheme=torch.per_tensor_affine,
            observer_or_fake_quant_ctr=ActivationObserver.with_args(method=spec.ranges),
        )

    def annotate(self, model: GraphModule) -> GraphModule:
        """Annotate a graph."""
        nodes = [node for node in model.graph.nodes if node.op == "call_function"]
        for node in nodes:
            reason = self._why_float(node)
            if reason:
                self.reasons[node.name] = reason
                self._set_annotation(node)
        for node in nodes:
            if Q_ANNOTATION_KEY not in node.meta:
                self._annotate(node)
        self.float_operators = float_operators(model)
        return model

    def validate(self, model: GraphModule) -> None:
        """Do nothing: :meth:`annotate` sets valid annotations only."""

    def _why_float(self, node: Node) -> str:
        reason = self._spec.why_float(layer_path(node))
        if reason:
            return reason
        if node.target in TRANSPOSED_CONVOLUTIONS and len(node.args) > 6 and node.args[6] != 1:
            return "Core ML has no per-channel scales for transposed convolutions with groups"
        return ""

    def _annotate(self, node: Node) -> None:
        if node.target in _LAYERS:
            inputs = {node.args[0]: self._activation}
            if self._spec.weights is not None and self._spec.weights.bits == 8:
                # Fewer bits are applied in the converted model.
                inputs[node.args[1]] = self._weights(node)
            self._annotate_with_activation(node, inputs)
        elif node.target in _BINARY and len(node.all_input_nodes) and _all_float(node):
            tensors = [item for item in node.args[:2] if isinstance(item, Node)]
            self._annotate_with_activation(node, dict.fromkeys(tensors, self._activation))
        elif node.target is _aten.cat.default and _all_float(node):
            parts = node.all_input_nodes
            shared = SharedQuantizationSpec((parts[0], node))
            inputs = dict.fromkeys(parts[1:], shared)
            self._set_annotation(node, {parts[0]: self._activation, **inputs}, shared)
        elif node.target in _SHARING and self._is_quantized(node.args[0]):
            shared = SharedQuantizationSpec(node.args[0])
            self._set_annotation(node, {node.args[0]: shared}, shared)

    def _weights(self, layer: Node) -> QuantizationSpec:
        largest = WeightQuant(8).largest
        return QuantizationSpec(
            dtype=torch.int8,
            quant_min=-largest,
            quant_max=largest,
            qscheme=torch.per_channel_symmetric,
            ch_axis=int(layer.target in TRANSPOSED_CONVOLUTIONS),
            observer_or_fake_quant_ctr=PerChannelWeightObserver.with_args(bits=8),
        )

    def _is_quantized(self, node: Any) -> bool:
        annotation = node.meta.get(Q_ANNOTATION_KEY) if isinstance(node, Node) else None
        return annotation is not None and annotation.output_qspec is not None

    def _annotate_with_activation(self, node: Node, inputs: dict[Any, Any]) -> None:
        users = list(node.users)
        last = users[0] if len(users) == 1 and users[0].target in _ACTIVATIONS else node
        if last is node or Q_ANNOTATION_KEY in last.meta:
            self._set_annotation(node, inputs, self._activation)
            return
        self._set_annotation(node, inputs)
        self._set_annotation(last, output=self._activation)

    def _set_annotation(
        self, node: Node, inputs: dict[Any, Any] | None = None, output: Any = None
    ) -> None:
        node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            input_qspec_map=inputs or {}, output_qspec=output, _annotated=True
        )


def _all_float(node: Node) -> bool:
    values = [item.meta.get("val") for item in node.all_input_nodes]
    return all(isinstance(v, torch.Tensor) and v.dtype is torch.float32 for v in values)
