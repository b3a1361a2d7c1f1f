"""Rounding of a graph's weights to few bits, with error compensation from input moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.nn import functional

from edgesdk.quant.plan import QuantPlan
from edgesdk.quant.pt2e.folding import CONVOLUTIONS, constant_of, store_constant
from edgesdk.quant.pt2e.layers import WeightedNode, weighted_nodes
from edgesdk.quant.rounding import InputMoments, RoundedRows, mean_shift, round_rows

__all__ = ["WeightPrecision", "round_module", "rounds"]

_aten = torch.ops.aten

#: Number of samples for moments, and of positions in each image.
_SAMPLES, _PLACES = 64, 512
#: Largest number of inputs of a layer with moments; more would not fit into memory.
_MOST_INPUTS = 4096


@dataclass(frozen=True)
class WeightPrecision:
    """Precision of one layer's weights.

    Attributes:
        bits: Bits of a weight, 2 to 8.
        block: Number of inputs per scale; 0 for a whole output channel.
    """

    bits: int
    block: int = 0


def round_module(
    plan: QuantPlan, module: GraphModule, precisions: Mapping[str, WeightPrecision]
) -> dict[str, RoundedRows]:
    """Round weights of convolutions and linear layers in place, and shift their biases.

    With calibration samples, rounding compensates errors within a row, and the bias absorbs the
    shift of the output's mean. Without samples, each weight goes to the nearest integer.

    Args:
        plan: Quantization plan with the calibration samples.
        module: Float program; its weights become the dequantized integers.
        precisions: Precision by node of an operator with the output channels first.

    Returns:
        Rounded rows, one per output channel, by node.
    """
    layers = [layer for layer in weighted_nodes(module) if layer.node.name in precisions]
    moments = _moments(plan, module, layers) if plan.calibration else {}
    shared: dict[Any, RoundedRows] = {}
    found = {}
    for layer in layers:
        node, fine = layer.node, precisions[layer.node.name]
        source: Any = node.args[1]
        exact = constant_of(module, source)
        assert exact is not None
        rows = exact.reshape(exact.shape[0], -1).numpy()
        known = moments.get(node.name)
        if source not in shared:
            # A block of inputs covers all their kernel positions.
            places = rows.shape[1] // exact.shape[1]
            shared[source] = round_rows(rows, fine.bits, fine.block * places, known)
        rounded = found[node.name] = shared[source]
        values = torch.from_numpy(rounded.values()).reshape(exact.shape)
        node.update_arg(1, store_constant(module, node, f"{source.target}_rounded", values, source))
        if known is not None:
            _shift(module, node, mean_shift(rows, rounded, known), source)
    module.recompile()
    return found


def rounds(layer: WeightedNode) -> bool:
    """Return True if :func:`round_module` supports a layer: its output channels come first."""
    return layer.node.target in (_aten.linear.default, *CONVOLUTIONS)


def _shift(module: GraphModule, node: Node, shift: np.ndarray, like: Node) -> None:
    bias: Any = node.args[2] if len(node.args) > 2 else None
    old = constant_of(module, bias)
    if bias is not None and old is None:
        return
    value = torch.from_numpy(shift).float()
    value = value if old is None else (old.double() + torch.from_numpy(shift)).float()
    stored = store_constant(module, node, f"{like.target}_shifted_bias", value, like)
    node.args = (*node.args[:2], stored, *node.args[3:])


def _moments(
    plan: QuantPlan, module: GraphModule, layers: list[WeightedNode]
) -> dict[str, InputMoments]:
    found = {}
    for layer in layers:
        inputs = layer.weights // layer.shape[0]
        if inputs <= _MOST_INPUTS and layer.node.target in _VECTORS:
            found[layer.node.name] = InputMoments.empty(_groups(layer.node), inputs)
    watching = _Watching(module, found)
    with torch.no_grad():
        for sample in plan.calibration[:_SAMPLES]:
            watching.run(*(torch.from_numpy(np.array(sample[name])) for name in plan.inputs))
    return {name: moments for name, moments in found.items() if moments.count}


class _Watching(Interpreter):
    """Runs a graph and adds the inputs of its layers to their moments."""

    def __init__(self, module: GraphModule, moments: dict[str, InputMoments]) -> None:
        super().__init__(module)
        self._moments = moments

    def run_node(self, n: Node) -> Any:
        moments = self._moments.get(n.name)
        if moments is not None:
            (source, weight, *_), _ = self.fetch_args_kwargs_from_env(n)
            vectors = _VECTORS[n.target](n, source, weight)
            vectors = vectors.double().numpy()
            moments.second += vectors @ vectors.transpose(0, 2, 1)
            moments.total += vectors.sum(axis=2)
            moments.count += vectors.shape[2]
        return super().run_node(n)


def _groups(node: Node) -> int:
    groups: Any = node.args[6] if node.target in _CONVOLUTIONS and len(node.args) > 6 else 1
    return int(groups)


def _rows(node: Node, source: Tensor, weight: Tensor) -> Tensor:
    flat = source.reshape(-1, source.shape[-1]).T
    return flat[None, :, :: -(-flat.shape[1] // _PLACES)]


def _columns(node: Node, source: Tensor, weight: Tensor) -> Tensor:
    """Return the windows of a convolution, ``[groups, inputs, number]``."""
    given: list[Any] = [*node.args[3:6], *[1, 0, 1][len(node.args[3:6]) :]]
    stride, padding, dilation = (
        list(item) if isinstance(item, (list, tuple)) else [item] * (weight.dim() - 2)
        for item in given
    )
    image, kernel = source, list(weight.shape[2:])
    if weight.dim() == 3:
        image = source.unsqueeze(2)
        kernel, stride, padding, dilation = (
            [1, *kernel],
            [1, *stride],
            [0, *padding],
            [1, *dilation],
        )
    if max(kernel) == 1 and not any(padding):
        columns = image[:, :, :: stride[0], :: stride[1]].flatten(2)
    else:
        columns = functional.unfold(image, kernel, dilation, padding, stride)
    step = -(-columns.shape[2] // _PLACES)
    columns = columns[:, :, ::step].permute(1, 0, 2).flatten(1)
    groups = _groups(node)
    return columns.reshape(groups, columns.shape[0] // groups, -1)


_CONVOLUTIONS = (_aten.conv1d.default, _aten.conv2d.default)
_VECTORS: dict[Any, Callable[[Node, Tensor, Tensor], Tensor]] = {
    _aten.linear.default: _rows,
    **dict.fromkeys(_CONVOLUTIONS, _columns),
}
