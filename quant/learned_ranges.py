"""Ranges of activations, learned during training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["LearnedRanges"]

#: Weight of the newest batch, once the equal weight 1/n is smaller.
_MOMENTUM = 0.05


class LearnedRanges(nn.Module):
    """Round tensors to ranges that are moving averages of their extremes.

    The extremes of a batch are the means of its samples' extremes, so calibrating the trained
    network sample by sample finds the same ranges. With the method ``min_max`` they are those of
    the whole batch.

    Args:
        names: Names of the tensors.
        bits: Bits of the integers; symmetric around zero if more than 8.
        method: One of :data:`edgesdk.quant.spec.RANGE_METHODS`.
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, names: Sequence[str], bits: int, method: str) -> None:
        super().__init__()
        self._index = {name: index for index, name in enumerate(names)}
        self._bits = bits
        self._by_sample = method != "min_max"
        self.register_buffer("low", torch.zeros(len(names)))
        self.register_buffer("high", torch.zeros(len(names)))
        self.register_buffer("seen", torch.zeros(len(names), dtype=torch.int64))

    @torch.no_grad()
    def observe(self, name: str, values: Tensor) -> None:
        """Update the range of a tensor with a batch.

        Args:
            name: One of the names.
            values: ``[batch, ...]``.
        """
        index = self._index[name]
        exact = values.detach().float()
        if self._by_sample and exact.ndim > 1:
            if exact.ndim == 4 and exact.is_contiguous(memory_format=torch.channels_last):
                # This order of axes is that of memory and avoids a copy.
                exact = exact.permute(0, 2, 3, 1)
            low, high = (extremes.mean() for extremes in torch.aminmax(exact.flatten(1), dim=1))
        else:
            low, high = torch.aminmax(exact)
        share = torch.clamp(1 / (self.seen[index] + 1), min=_MOMENTUM)
        self.low[index] += share * (low - self.low[index])
        self.high[index] += share * (high - self.high[index])
        self.seen[index] += 1

    def round(self, name: str, values: Tensor) -> Tensor:
        """Round a tensor to the grid of its range; return it unchanged before any observation.

        Values outside the range are clipped and get no gradient; others keep theirs.

        Args:
            name: One of the names.
            values: Tensor of any shape.
        """
        index = self._index[name]
        if not int(self.seen[index]):
            return values
        scale, zero, smallest, largest = self._grid(index)
        rounded = torch.fake_quantize_per_tensor_affine(
            values.float(), scale, zero, smallest, largest
        )
        return rounded.to(values.dtype)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the ranges of all observed tensors by name; each contains zero."""
        found = {}
        for name, index in self._index.items():
            if int(self.seen[index]):
                low, high = float(self.low[index]), float(self.high[index])
                found[name] = (min(low, 0.0), max(high, 0.0))
        return found

    def _grid(self, index: int) -> tuple[Tensor, Tensor, int, int]:
        # Same arithmetic as edgesdk.quant.ranges.scale_and_zero_point, without synchronizing
        # the device.
        wide = torch.float32 if self.low.device.type == "mps" else torch.float64
        low = self.low[index].to(wide).clamp(max=0)
        high = self.high[index].to(wide).clamp(min=0)
        largest = 2 ** (self._bits - 1) - 1
        # An all-zero tensor gets the scale 1.
        one = torch.ones_like(low)
        if self._bits > 8:
            max_abs = torch.maximum(-low, high)
            scale = torch.where(max_abs > 0, max_abs / largest, one)
            return scale.float(), torch.zeros_like(scale, dtype=torch.int32), -largest, largest
        smallest = -largest - 1
        scale = torch.where(high > low, (high - low) / (largest - smallest), one)
        zero = torch.where(high > low, (smallest - low / scale).round(), 0 * one)
        return scale.float(), zero.clamp(smallest, largest).to(torch.int32), smallest, largest
