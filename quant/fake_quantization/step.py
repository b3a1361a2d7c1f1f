"""Execution of operators in a simulated network: rounding and half precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from edgesdk.errors import UsageError
from edgesdk.quant.fake_quantization.fake_quantize import (
    fake_quantize_dynamic,
    fake_quantize_static,
)
from edgesdk.quant.fake_quantization.group_step import GroupStep, with_weights
from edgesdk.quant.fake_quantization.network import Network, plain
from edgesdk.quant.fake_quantization.operator_groups import Folded, OperatorGroup
from edgesdk.quant.spec import QuantSpec

__all__ = ["Choice", "Range", "SimulatedStep", "halved"]

#: Lowest and highest value of a tensor.
Range = tuple[float, float]


@dataclass(frozen=True)
class Choice:
    """Quantized parts of a run.

    Attributes:
        groups: Groups that compute in integers.
        halved: Nodes that compute in half precision.
    """

    groups: tuple[OperatorGroup, ...]
    halved: frozenset[Node] = frozenset()


class SimulatedStep(GroupStep):
    """Computes operators under a recipe; one instance per run.

    Args:
        network: Network to compute.
        spec: Recipe.
        choice: Quantized parts.
        folded: Rounded weights and biases by group, looked up on each use.
        ranges: Ranges by tensor name.
        watch: Called with every operator and its result before rounding.
    """

    def __init__(
        self,
        network: Network,
        spec: QuantSpec,
        choice: Choice,
        folded: Mapping[OperatorGroup, Folded],
        ranges: Mapping[str, Range],
        watch: Callable[[Node, Any], None] | None = None,
    ) -> None:
        super().__init__(network, choice.groups, static=spec.static)
        self.watch = watch
        self._spec, self._folded, self._ranges = spec, folded, ranges
        self._bits = spec.activations.bits if spec.activations is not None else 0
        self._halved = choice.halved

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See :data:`edgesdk.quant.fake_quantization.network.Step`."""
        half = node in self._halved
        if half:
            args = tuple(halved(value) for value in args)
        value = super().__call__(node, args, kwargs)
        return halved(value) if half else value

    def on_output(self, node: Node, value: Any) -> None:
        """Pass the result to ``watch``."""
        if self.watch is not None:
            self.watch(node, value)

    def head(self, group: OperatorGroup, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute with rounded weights."""
        if group.weight is None:
            return plain(group.head, args, kwargs)
        folded = self._folded[group]
        given, named = with_weights(args, kwargs, folded.weight, folded.bias)
        return plain(group.head, given, named)

    def norm(
        self, group: OperatorGroup, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return the input: the normalization is folded."""
        # The weights contain its factor.
        return args[0]

    def round_static(self, node: Node, value: Tensor) -> Tensor:
        """Round a tensor to its calibrated range."""
        name = self._network.names[node]
        if name not in self._ranges:
            raise UsageError(
                f"tensor {name} has no range", remedy="calibrate, or give a range for it"
            )
        low, high = self._ranges[name]
        # Runtimes use symmetric 16-bit activations.
        return fake_quantize_static(value, low, high, bits=self._bits, symmetric=self._bits > 8)

    def round_input(self, group: OperatorGroup, node: Node, value: Tensor) -> Tensor:
        """Round each sample of a float input to its own range."""
        if not self._spec.dynamic or group.weight is None:
            return value
        return fake_quantize_dynamic(value, bits=self._bits)


def halved(value: Any) -> Any:
    """Round a single-precision tensor to half precision; return other values unchanged."""
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return value.half().float()
    return value
