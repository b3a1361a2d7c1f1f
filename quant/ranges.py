"""Range of a tensor from a stream of values; only a histogram is kept."""

from __future__ import annotations

import math

import numpy as np

from edgesdk.errors import DataError, UnknownNameError
from edgesdk.quant.spec import RANGE_METHODS

__all__ = ["BINS", "RangeObserver", "scale_and_zero_point"]

#: Bins of the histogram; a power of two, because bins are merged in pairs.
BINS = 2048

_MOMENTUM = 0.1
#: Smallest width of the histogram that keeps bin widths normal numbers in single precision.
_SMALLEST_WIDTH = 1e-30
#: Share of values that ``percentile`` clips on either side.
_TAIL = 1e-4
#: Smallest normal scale in single precision; smaller ones mean a tensor of zeros.
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
#: Shares of the full range that ``mse`` and ``entropy`` try.
_CANDIDATES = np.linspace(0.2, 1.0, 81)


class RangeObserver:
    """Observe batches of values and choose the range to quantize them in.

    Methods: ``min_max``, the overall extremes; ``moving_average``, the extremes per batch, averaged
    with momentum 0.1 (Jacob et al. 2018, section 3.1); ``percentile``, without 0.01 % of the values
    on either side; ``mse``, the clipped range with the least mean squared rounding error;
    ``entropy``, the clipped range with the least Kullback-Leibler divergence between the histogram
    and its quantized form (Migacz 2017). The range always contains zero, because padding must be
    exact.

    Args:
        method: One of :data:`edgesdk.quant.spec.RANGE_METHODS`.
        bits: Bits of the quantized values, for ``mse`` and ``entropy``.

    Raises:
        UnknownNameError: The method is unknown.
    """

    def __init__(self, method: str, bits: int = 8) -> None:
        if method not in RANGE_METHODS:
            raise UnknownNameError("range method", method, RANGE_METHODS)
        self._method = method
        self._levels = 2**bits - 1
        self._min, self._max = math.inf, -math.inf
        self._average: tuple[float, float] | None = None
        self._counts = np.zeros(BINS, np.float64)
        self._low = self._high = 0.0

    @property
    def has_values(self) -> bool:
        """True if any value was added."""
        return self._min <= self._max

    def add(self, values: np.ndarray) -> None:
        """Add one batch of any shape.

        Raises:
            DataError: A value is NaN or infinite.
        """
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError(
                "a tensor held NaN or infinity during calibration",
                remedy="remove samples on which the model overflows",
            )
        self._min, self._max = min(self._min, low), max(self._max, high)
        old = self._average
        self._average = (
            (low, high)
            if old is None
            else (old[0] + _MOMENTUM * (low - old[0]), old[1] + _MOMENTUM * (high - old[1]))
        )
        if self._method in ("percentile", "mse", "entropy"):
            self._count(values, low, high)

    def range(self) -> tuple[float, float]:
        """Return the lowest and the highest value to represent; the range contains zero.

        Raises:
            DataError: No value was added.
        """
        if not self.has_values or self._average is None:
            raise DataError(
                "no values to take a range from", remedy="calibrate with at least one sample"
            )
        if self._method == "min_max":
            low, high = self._min, self._max
        elif self._method == "moving_average":
            low, high = self._average
        elif self._method == "percentile":
            low, high = self._percentile()
        else:
            low, high = self._clipped()
        return min(low, 0.0), max(high, 0.0)

    def _count(self, values: np.ndarray, low: float, high: float) -> None:
        if self._low == self._high:
            # Every range contains zero; a tensor of zeros still needs a histogram of some width.
            self._low, self._high = min(low, 0.0), max(high, 0.0)
            if self._high - self._low < _SMALLEST_WIDTH:
                self._low, self._high = -_SMALLEST_WIDTH, _SMALLEST_WIDTH
        while low < self._low or high > self._high:
            width = self._high - self._low
            merged = self._counts.reshape(-1, 2).sum(1)
            self._counts[:] = 0
            if high > self._high:
                self._counts[: BINS // 2] = merged
                self._high += width
            else:
                self._counts[BINS // 2 :] = merged
                self._low -= width
        counts, _ = np.histogram(values, BINS, (self._low, self._high))
        self._counts += counts

    def _edges(self) -> np.ndarray:
        return np.linspace(self._low, self._high, BINS + 1)

    def _percentile(self) -> tuple[float, float]:
        share = np.cumsum(self._counts) / self._counts.sum()
        edges = self._edges()
        low = edges[np.searchsorted(share, _TAIL, side="right")]
        high = edges[np.searchsorted(share, 1 - _TAIL) + 1]
        # A bin may be wider than the values in it.
        return max(float(low), self._min), min(float(high), self._max)

    def _clipped(self) -> tuple[float, float]:
        edges = self._edges()
        centers = (edges[:-1] + edges[1:]) / 2
        low, high = min(self._min, 0.0), max(self._max, 0.0)
        if low == high:
            return low, high
        loss = self._squared_error if self._method == "mse" else self._divergence
        losses = [loss(centers, low * share, high * share) for share in _CANDIDATES]
        # Prefer the widest of equals: clip only if that reduces the loss.
        best = len(losses) - 1 - int(np.argmin(losses[::-1]))
        return low * float(_CANDIDATES[best]), high * float(_CANDIDATES[best])

    def _quantized(self, centers: np.ndarray, low: float, high: float) -> np.ndarray:
        step = (high - low) / self._levels
        return np.clip(np.round((centers - low) / step), 0, self._levels) * step + low

    def _squared_error(self, centers: np.ndarray, low: float, high: float) -> float:
        error = centers - self._quantized(centers, low, high)
        return float((self._counts * error**2).sum())

    def _divergence(self, centers: np.ndarray, low: float, high: float) -> float:
        """Return the divergence of the clipped histogram from its quantized form."""
        inside = (centers >= low) & (centers <= high)
        # Zeros are exact in every range; those behind a ReLU would outweigh all other values.
        counts = self._counts.copy()
        counts[min(int(np.searchsorted(self._edges(), 0.0, side="right")) - 1, BINS - 1)] = 0
        if not counts[inside].any():
            return math.inf
        reference = counts[inside]
        # Clipped values move to the outermost bins.
        reference[0] += counts[centers < low].sum()
        reference[-1] += counts[centers > high].sum()
        step = (high - low) / self._levels
        level = np.round((centers[inside] - low) / step).astype(np.int64)
        kept = counts[inside]
        filled = kept > 0
        total = np.bincount(level, kept, self._levels + 1)
        count = np.bincount(level, filled, self._levels + 1)
        spread = np.where(filled, total[level] / np.maximum(count[level], 1), 0.0)
        p, q = reference / reference.sum(), spread / max(spread.sum(), 1e-300)
        # Smoothing keeps the cost of clipped values at an empty end finite.
        q = np.maximum(q, 1e-9)
        used = p > 0
        return float((p[used] * np.log(p[used] / q[used])).sum())


def scale_and_zero_point(
    low: float, high: float, *, bits: int = 8, symmetric: bool = False
) -> tuple[float, int]:
    """Return scale and zero point of signed integers for a range (Jacob et al. 2018, eq. 1).

    Args:
        low: Lowest value, at most 0.
        high: Highest value, at least 0.
        bits: Bits of the integers.
        symmetric: True for zero point 0 and integers ``-(2 ** (bits - 1) - 1)`` to
            ``2 ** (bits - 1) - 1``.

    Returns:
        Positive scale, and the integer that represents 0.
    """
    smallest, largest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if symmetric:
        max_abs = max(-low, high)
        scale = max_abs / largest
        return (scale if scale >= _SMALLEST_SCALE else 1.0), 0
    scale = (high - low) / (largest - smallest)
    if scale < _SMALLEST_SCALE:
        return 1.0, 0
    zero_point = round(smallest - low / scale)
    return scale, int(min(max(zero_point, smallest), largest))
