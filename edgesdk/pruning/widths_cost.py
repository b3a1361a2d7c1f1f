"""Compute parameters and multiplications of a network from its widths, without building it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgesdk.profiling.cost import count
from edgesdk.pruning.groups import Channels
from edgesdk.pruning.layers import CUTTABLE, makes_channels, widths

__all__ = ["Cost", "WidthsCost"]


@dataclass(frozen=True)
class Cost:
    """Cost of a network.

    Attributes:
        params: Number of parameters.
        macs: Number of multiply-accumulates for one input.
    """

    params: int
    macs: int


@dataclass(frozen=True)
class _Layer:
    inside: int
    outside: int
    macs: int
    weights: int
    per_output: int
    mixes: bool
    # Group name and side -> number of positions per channel of the group in this layer.
    per_channel: Mapping[tuple[str, str], int]


class WidthsCost:
    """Cost of a model for any choice of widths.

    Exact if all channels of a group have equally many positions in a layer, and if layers do all
    multiplications; attention's own are counted as in the full model.

    Args:
        model: Full model.
        inputs: Example inputs; the cost is that of one sample.
        channels: Channel groups of the model.
    """

    def __init__(self, model: nn.Module, inputs: Any, channels: Channels) -> None:
        self.channels = channels
        counted = count(model, inputs)
        macs: Counter[str] = Counter()
        for row in counted.rows:
            macs[row.name] += row.macs
        self.full = Cost(counted.params, counted.macs)
        parts: dict[str, dict[tuple[str, str], int]] = {}
        for group in channels.groups:
            for member in group.members:
                side = "in" if member.side == "in" else "out"
                parts.setdefault(member.layer, {})[group.name, side] = len(member.positions[0])
        self._layers: list[_Layer] = []
        for path, per_channel in parts.items():
            layer = model.get_submodule(path)
            if not isinstance(layer, CUTTABLE):
                continue
            inside, outside = widths(layer)
            weight = getattr(layer, "weight", None)
            mixes = makes_channels(layer)
            weights = weight.numel() if weight is not None and mixes else 0
            others = sum(parameter.numel() for parameter in layer.parameters()) - weights
            each, own = others // outside, macs[path]
            self._layers.append(_Layer(inside, outside, own, weights, each, mixes, per_channel))
        base = [self._of(layer, {}) for layer in self._layers]
        self._rest = Cost(
            self.full.params - sum(params for params, _ in base),
            self.full.macs - sum(macs for _, macs in base),
        )
        self._widths = {group.name: group.width for group in channels.groups}

    def _of(self, layer: _Layer, lost: Mapping[str, int]) -> tuple[int, int]:
        inside, outside = layer.inside, layer.outside
        for (group, side), positions in layer.per_channel.items():
            gone = lost.get(group, 0) * positions
            if side == "in":
                inside -= gone
            else:
                outside -= gone
        area = outside * inside if layer.mixes else outside
        full = layer.outside * layer.inside if layer.mixes else layer.outside
        params = layer.weights * area // full + layer.per_output * outside
        return params, layer.macs * area // full

    def __call__(self, counts: Mapping[str, int]) -> Cost:
        """Return the cost when groups keep ``counts[name]`` channels; absent groups keep all."""
        lost = {name: self._widths[name] - kept for name, kept in counts.items()}
        parts = [self._of(layer, lost) for layer in self._layers]
        return Cost(
            self._rest.params + sum(params for params, _ in parts),
            self._rest.macs + sum(macs for _, macs in parts),
        )

    def depth(self) -> dict[str, float]:
        """Return for each group the logarithm of its parameters per multiplication, centred.

        Counted for channels that are removed: late layers with small maps are positive. A threshold
        tilted along it saves more parameters or more multiplications.
        """
        values = {}
        for name, width in self._widths.items():
            narrowed = self({name: max(1, width // 2)})
            params = max(1, self.full.params - narrowed.params)
            macs = max(1, self.full.macs - narrowed.macs)
            values[name] = math.log(params / macs)
        middle = sum(values.values()) / len(values)
        return {name: value - middle for name, value in values.items()}
