"""Observers for torchao's graphs, with the ranges of :mod:`edgesdk.quant.ranges`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase

from edgesdk.quant.ranges import RangeObserver, scale_and_zero_point

__all__ = ["ActivationObserver", "PerChannelWeightObserver"]

#: Smallest scale of a weight; kernels need normal numbers, in products too.
_SMALLEST = 1e-20


class ActivationObserver(UniformQuantizationObserverBase):
    """Observes the range of all tensors that share one scale.

    Tensors that share a scale (the inputs of a concatenation) are observed together, once per
    sample, because a range averaged over samples must cover all of them.

    Args:
        method: One of :data:`edgesdk.quant.spec.RANGE_METHODS`.
        bits: Bits of the integers.
        symmetric: True for zero point 0.
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
        """Observe a tensor and return it."""
        if x.numel():
            self._pending.append(x.detach().to(torch.float32).reshape(-1).numpy())
        return x

    def end_sample(self) -> None:
        """Add the tensors of one sample to the range.

        Raises:
            DataError: A value is NaN or infinite.
        """
        if self._pending:
            self._ranges.add(np.concatenate(self._pending))
            self._pending = []

    def raise_scale(self, floor: float) -> bool:
        """Raise the scale to at least ``floor``; return True if it changed."""
        if self.scale_and_zero_point()[0] >= floor:
            return False
        self._floor = floor
        return True

    def scale_and_zero_point(self) -> tuple[float, int]:
        """Return scale and zero point of the observed range.

        Raises:
            DataError: Nothing was observed.
        """
        low, high = self._ranges.range()
        scale, zero = scale_and_zero_point(low, high, bits=self._bits, symmetric=self._symmetric)
        if scale < self._floor:
            low, high = low * self._floor / scale, high * self._floor / scale
            if low == high:
                return self._floor, 0
            _, zero = scale_and_zero_point(low, high, bits=self._bits, symmetric=self._symmetric)
            scale = self._floor
        # Kernels use single precision, in which a smaller scale would not be a normal number.
        return max(scale, _SMALLEST), zero

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return scale and zero point as tensors, for torchao."""
        scale, zero_point = self.scale_and_zero_point()
        return torch.tensor([scale]), torch.tensor([zero_point])


class PerChannelWeightObserver(UniformQuantizationObserverBase):
    """Observes the range of each output channel of a weight, symmetric around zero.

    torchao passes the axis only to observers with ``PerChannel`` in their name.

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
        """Observe the weight and return it."""
        others = [axis for axis in range(x.dim()) if axis != self.ch_axis]
        self._max_abs = x.detach().abs().amax(others) if others else x.detach().abs()
        return x

    def raise_scales(self, floor: Tensor) -> None:
        """Raise the scale of each channel to at least ``floor``."""
        self._floor = torch.clamp(floor, min=_SMALLEST)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return scale and zero point as tensors, for torchao."""
        if self._max_abs is None:
            raise RuntimeError("the weight was not observed")
        scale = self._max_abs / self._largest
        # Any scale fits a channel of zeros.
        scale = torch.where(self._max_abs > 0, scale, torch.ones_like(scale))
        scale = torch.maximum(scale, torch.as_tensor(self._floor, dtype=scale.dtype))
        return scale, torch.zeros_like(scale, dtype=torch.int64)
