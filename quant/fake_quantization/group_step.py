"""Execution of operators in a partly quantized network: decides where values are rounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.fx import Node

from edgesdk.quant.fake_quantization.network import Network, plain
from edgesdk.quant.fake_quantization.operator_groups import OperatorGroup
from edgesdk.quant.fake_quantization.operators import CARRIERS
from edgesdk.quant.layer_names import operator_name

__all__ = ["GroupStep", "choose_groups", "tensors_to_round", "with_weights"]


def choose_groups(
    network: Network,
    groups: Sequence[OperatorGroup],
    *,
    static: bool,
    wanted: Callable[[OperatorGroup], bool],
) -> tuple[OperatorGroup, ...]:
    """Choose the groups that compute in integers.

    An operator without weights does if all its inputs come from such groups, because runtimes do
    not quantize a float for it.

    Args:
        network: Network of the groups.
        groups: Groups in order.
        static: True if activations have ranges; else only weights are quantized.
        wanted: Returns True if a group may be quantized.
    """
    heads = {group.head: group for group in groups}
    chosen: dict[Node, OperatorGroup] = {}
    tails: set[Node] = set()
    on_grid: set[Node] = set()
    for node in network.graph.nodes:
        group = heads.get(node)
        if group is not None and wanted(group):
            given = all(source in on_grid for source in group.activations)
            if group.weight is not None or (static and given):
                chosen[node] = group
                tails.add(group.tail)
        if node in tails or _carries(network, node, on_grid):
            on_grid.add(node)
    return tuple(chosen.values())


def _carries(network: Network, node: Node, on_grid: set[Node]) -> bool:
    given = [source for source in node.all_input_nodes if source not in network.constants]
    carrier = operator_name(node).rstrip("_") in CARRIERS
    return carrier and bool(given) and all(source in on_grid for source in given)


def tensors_to_round(groups: Sequence[OperatorGroup]) -> tuple[Node, ...]:
    """Return all tensors that may need a range, for any choice of groups."""
    found: dict[Node, None] = {}
    for group in groups:
        found.update(dict.fromkeys(group.activations))
        found[group.tail] = None
    return tuple(found)


class GroupStep:
    """Computes operators, some of them quantized; one instance per run.

    Args:
        network: Network to compute.
        chosen: Quantized groups.
        static: True if results are rounded to calibrated ranges.
    """

    def __init__(self, network: Network, chosen: Sequence[OperatorGroup], *, static: bool) -> None:
        self._network = network
        self._static = static
        self._heads = {group.head: group for group in chosen}
        self._norms = {group.norm: group for group in chosen if group.norm is not None}
        self._tails = {group.tail for group in chosen}
        self._on_grid: set[Node] = set()

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See :data:`edgesdk.quant.fake_quantization.network.Step`."""
        group = self._heads.get(node)
        if group is not None:
            rounded = tuple(
                self._rounded(group, given, value)
                for given, value in zip(node.args, args, strict=True)
            )
            named = {
                key: self._rounded(group, node.kwargs[key], value) for key, value in kwargs.items()
            }
            value = self.head(group, rounded, named)
        elif node in self._norms:
            value = self.norm(self._norms[node], node, args, kwargs)
        else:
            value = self.other(node, args, kwargs)
        self.on_output(node, value)
        if self._static:
            if node in self._tails:
                value = self.round_static(node, value)
                self._on_grid.add(node)
            elif _carries(self._network, node, self._on_grid):
                self._on_grid.add(node)
        return value

    def head(self, group: OperatorGroup, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute the first operator of a quantized group; its inputs are rounded already."""
        return plain(group.head, args, kwargs)

    def norm(
        self, group: OperatorGroup, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Compute the normalization of a quantized group."""
        del group
        return self.other(node, args, kwargs)

    def other(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute any other operator."""
        return plain(node, args, kwargs)

    def on_output(self, node: Node, value: Any) -> None:
        """Receive an operator's result before it is rounded."""

    def round_static(self, node: Node, value: Tensor) -> Tensor:
        """Round a tensor to its calibrated range."""
        del node
        return value

    def round_input(self, group: OperatorGroup, node: Node, value: Tensor) -> Tensor:
        """Round a float input of a quantized group without calibrated ranges."""
        del group, node
        return value

    def _rounded(self, group: OperatorGroup, given: Any, value: Any) -> Any:
        if isinstance(given, Node):
            if given not in group.activations or given in self._on_grid:
                return value
            return (
                self.round_static(given, value)
                if self._static
                else self.round_input(group, given, value)
            )
        if isinstance(given, (list, tuple)):
            return [
                self._rounded(group, inner, item) for inner, item in zip(given, value, strict=True)
            ]
        return value


def with_weights(
    args: tuple[Any, ...], kwargs: dict[str, Any], weight: Tensor, bias: Tensor | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Replace the weights in the arguments of a convolution or linear operator."""
    kept = {key: value for key, value in kwargs.items() if key not in ("weight", "bias")}
    return (args[0], weight, bias, *args[3:]), kept
