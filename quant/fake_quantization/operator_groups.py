"""Operators that a kernel fuses: a layer with its normalization and its clamp."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from edgesdk.quant.fake_quantization.network import Network
from edgesdk.quant.fake_quantization.operators import (
    CLAMPS,
    INTEGER,
    NORMS,
    TRANSPOSED,
    WEIGHTED,
    argument,
)
from edgesdk.quant.layer_names import layer_path, operator_name

__all__ = [
    "Folded",
    "OperatorGroup",
    "find_groups",
    "fold_norm",
    "norm_factor",
    "over_outputs",
]


@dataclass(frozen=True)
class OperatorGroup:
    """Group of operators without rounding in between.

    Attributes:
        path: Module path of the first operator.
        head: First operator.
        norm: Batch normalization folded into its weights; None if absent.
        tail: Last operator; its result is rounded.
        weight: Placeholder of the weights; None if absent.
        bias: Placeholder of the bias; None if absent.
        activations: Inputs of the head other than constants.
    """

    path: str
    head: Node
    norm: Node | None
    tail: Node
    weight: Node | None
    bias: Node | None
    activations: tuple[Node, ...]

    @property
    def operator(self) -> str:
        """Name of the first operator."""
        return operator_name(self.head)

    @property
    def transposed(self) -> bool:
        """True for a transposed convolution."""
        return self.operator in TRANSPOSED

    @property
    def groups(self) -> int:
        """Number of groups of a convolution."""
        return int(argument(self.head, "groups") or 1)

    @property
    def channel_axis(self) -> int:
        """Axis of the output channels in the result."""
        return -1 if self.operator == "linear" else 1

    @property
    def before_clamp(self) -> Node:
        """Operator in front of the clamp, whose result includes the bias."""
        return self.norm or self.head


def find_groups(network: Network) -> tuple[OperatorGroup, ...]:
    """Find the groups that have an integer form, in order."""
    groups = []
    for node in network.graph.nodes:
        name = operator_name(node)
        if name in WEIGHTED and argument(node, "weight") in network.constants:
            groups.append(_weighted(network, node))
        elif name in INTEGER and _floating(node):
            activations = _activations(network, node)
            if activations:
                clamp = _clamp_behind(node) if name in ("add", "mul", "sub") else None
                groups.append(
                    OperatorGroup(
                        layer_path(node), node, None, clamp or node, None, None, activations
                    )
                )
    return tuple(groups)


def _weighted(network: Network, node: Node) -> OperatorGroup:
    weight, bias = argument(node, "weight"), argument(node, "bias")
    constant_bias = bias is None or bias in network.constants
    norm = _norm_behind(network, node) if constant_bias else None
    clamp = _clamp_behind(norm or node)
    source = (argument(node, "input"),)
    activations = tuple(given for given in source if given not in network.constants)
    tail = clamp or norm or node
    return OperatorGroup(layer_path(node), node, norm, tail, weight, bias, activations)


def _activations(network: Network, node: Node) -> tuple[Node, ...]:
    return tuple(
        given
        for given in node.all_input_nodes
        if given not in network.constants and given.op != "get_attr" and _floating(given)
    )


def _floating(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _norm_behind(network: Network, node: Node) -> Node | None:
    norm = _only_user(node)
    if norm is None or operator_name(norm) not in NORMS or argument(norm, "input") is not node:
        return None
    constant = all(
        argument(norm, name) in network.constants for name in ("running_mean", "running_var")
    )
    # Behind a linear layer with further axes, the norm has another channel axis.
    shape = getattr(node.meta.get("val"), "shape", ())
    aligned = operator_name(node) != "linear" or len(shape) == 2
    return norm if constant and aligned else None


def _clamp_behind(node: Node) -> Node | None:
    clamp = _only_user(node)
    if clamp is None or operator_name(clamp) not in CLAMPS:
        return None
    return clamp if clamp.all_input_nodes == [node] else None


@dataclass
class Folded:
    """Weights with the batch normalization folded in.

    Attributes:
        weight: Weights in the operator's layout.
        bias: One number per output channel, or None.
        factor: Factor of each output channel, or None.
    """

    weight: Tensor
    bias: Tensor | None
    factor: Tensor | None = None


def fold_norm(group: OperatorGroup, values: dict[Node, Tensor]) -> Folded:
    """Fold the normalization of a group into its weights and bias.

    Args:
        group: Group with weights.
        values: Values of the program's constants.
    """
    assert group.weight is not None
    weight = values[group.weight]
    bias = values[group.bias] if group.bias is not None else None
    if group.norm is None:
        return Folded(weight, bias)
    factor, shift = norm_factor(group.norm, values)
    moved = shift if bias is None else bias * factor + shift
    return Folded(weight * over_outputs(factor, group, weight), moved, factor)


def norm_factor(norm: Node, values: dict[Node, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the factor and the offset per channel of a batch normalization."""

    def value(name: str) -> Tensor | None:
        node = argument(norm, name)
        return values[node] if isinstance(node, Node) else None

    mean, variance = value("running_mean"), value("running_var")
    assert mean is not None and variance is not None
    factor = torch.rsqrt(variance + argument(norm, "eps"))
    gain, shift = value("weight"), value("bias")
    factor = factor if gain is None else factor * gain
    moved = -mean * factor
    return factor, moved if shift is None else moved + shift


def over_outputs(factor: Tensor, group: OperatorGroup, weight: Tensor) -> Tensor:
    """Reshape one factor per output channel to broadcast over the weights."""
    if not group.transposed:
        return factor.reshape(-1, *(1,) * (weight.ndim - 1))
    kernel = (1,) * (weight.ndim - 2)
    shares = factor.reshape(group.groups, 1, -1)
    spread = shares.expand(group.groups, weight.shape[0] // group.groups, -1)
    return spread.reshape(weight.shape[0], -1, *kernel)
