"""Observers that torchao places into a graph, with ranges of :mod:`edgesdk.quant.ranges`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase

from edgesdk.quant.ranges import RangeObserver, scale_and_zero_point

__all__ = ["ActivationObserver", "PerChannelWeightObserver"]

#: The smallest scale any weight gets: kernels want normal numbers, also of their products.
_SMALLEST = 1e-20


class ActivationObserver(UniformQuantizationObserverBase):
    """Takes the range of everything that shares one scale.

    Tensors that share a scale (the inputs of a concatenation) are seen together, once a sample:
    a range averaged over samples must hold all of them.

    Args:
        method: One of :data:`edgesdk.quant.spec.RANGE_METHODS`.
        bits: Bits of the integers.
        symmetric: Whether the zero point is 0.
    """

    def __init__(
        self, method: str = "moving_average", bits: int = 8, symmetric: bool = False, **given: Any
    ) -> None:
        super().__init__(**given)
        self._ranges = RangeObserver(method, bits)
        self._bits = bits
        self._symmetric = symmetric
        self._pending: list[np.ndarray] = []
        self._floor = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Look at a tensor and hand it on."""
        if x.numel():
            self._pending.append(x.detach().to(torch.float32).reshape(-1).numpy())
        return x

    def end_sample(self) -> None:
        """Take in what one sample brought.

        Raises:
            DataError: A value is NaN or infinite.
        """
        if self._pending:
            self._ranges.add(np.concatenate(self._pending))
            self._pending = []

    def raise_scale(self, floor: float) -> bool:
        """Make the scale at least ``floor``; whether that changed it."""
        if self.scale_and_zero_point()[0] >= floor:
            return False
        self._floor = floor
        return True

    def scale_and_zero_point(self) -> tuple[float, int]:
        """Scale and zero point of the range seen so far.

        Raises:
            DataError: Nothing was seen.
        """
        low, high = self._ranges.range()
        scale, zero = scale_and_zero_point(low, high, bits=self._bits, symmetric=self._symmetric)
        if scale < self._floor:
            low, high = low * self._floor / scale, high * self._floor / scale
            if low == high:
                return self._floor, 0
            _, zero = scale_and_zero_point(low, high, bits=self._bits, symmetric=self._symmetric)
            scale = self._floor
        # A kernel computes with single precision, in which a narrower range would be no number.
        return max(scale, _SMALLEST), zero

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """What torchao asks for."""
        scale, zero_point = self.scale_and_zero_point()
        return torch.tensor([scale]), torch.tensor([zero_point])


class PerChannelWeightObserver(UniformQuantizationObserverBase):
    """Takes the reach of each output channel of a weight; symmetric around zero.

    torchao tells the axis only to observers with ``PerChannel`` in their name.

    Args:
        bits: Bits of the integers.
        ch_axis: Axis of the output channels.
    """

    def __init__(self, bits: int = 8, ch_axis: int = 0, **given: Any) -> None:
        super().__init__(**given)
        self._largest = 2 ** (bits - 1) - 1
        self.ch_axis = ch_axis
        self._max_abs: Tensor | None = None
        self._floor: Tensor | float = _SMALLEST

    def forward(self, x: Tensor) -> Tensor:
        """Look at the weight and hand it on."""
        others = [axis for axis in range(x.dim()) if axis != self.ch_axis]
        self._max_abs = x.detach().abs().amax(others) if others else x.detach().abs()
        return x

    def raise_scales(self, floor: Tensor) -> None:
        """Make the scale of each channel at least that of ``floor``."""
        self._floor = torch.clamp(floor, min=_SMALLEST)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """What torchao asks for."""
        if self._max_abs is None:
            raise RuntimeError("the weight was not looked at")
        scale = self._max_abs / self._largest
        # A channel of zeros is as well off with any scale.
        scale = torch.where(self._max_abs > 0, scale, torch.ones_like(scale))
        scale = torch.maximum(scale, torch.as_tensor(self._floor, dtype=scale.dtype))
        return scale, torch.zeros_like(scale, dtype=torch.int64)
