"""Round weights to integers, row by row, with error compensation within a row (GPTQ).

A row holds the weights of one output channel. Without data, each weight goes to the nearest
integer. With the second moments of the row's inputs, weights are rounded one after another, and the
later ones compensate the error so that the row's output changes least in the mean square (Frantar
et al., "GPTQ", ICLR 2023). The remaining shift of the mean goes into the bias (Nagel et al.,
"Data-free quantization", ICCV 2019, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["InputMoments", "RoundedRows", "mean_shift", "round_rows"]

#: Shares of the largest weight tried as the clipping limit with few bits.
_SHARES = np.linspace(0.5, 1.0, 41)
#: From this many bits on, the largest weight sets the scale: clipping does not help.
_FINE = 6
#: Damping of the moments' diagonal, as a share of its mean, for a stable inverse.
_DAMPING = 0.01
#: Number of weights rounded before their errors are propagated to all later ones.
_STRIDE = 128


@dataclass
class InputMoments:
    """Moments of the input vectors of rows.

    Rows form equal, consecutive groups; the rows of a group have the same inputs.

    Attributes:
        second: Sums of outer products, float64 ``[groups, inputs, inputs]``.
        total: Sums of vectors, float64 ``[groups, inputs]``.
        count: Number of vectors.
    """

    second: np.ndarray
    total: np.ndarray
    count: int = 0

    @classmethod
    def empty(cls, groups: int, inputs: int) -> InputMoments:
        """Return the moments of zero vectors."""
        return cls(np.zeros((groups, inputs, inputs)), np.zeros((groups, inputs)))

    @property
    def mean(self) -> np.ndarray:
        """Return the mean vectors, ``[groups, inputs]``."""
        return self.total / max(self.count, 1)


@dataclass(frozen=True)
class RoundedRows:
    """Rows as integers times scales.

    Attributes:
        integers: int8 ``[rows, inputs]``.
        scales: Positive float32 ``[rows, blocks]``.
        block: Number of inputs per scale; the last block of a row may be shorter.
    """

    integers: np.ndarray
    scales: np.ndarray
    block: int

    def values(self) -> np.ndarray:
        """Return the dequantized rows, float32 ``[rows, inputs]``."""
        spread = np.repeat(self.scales, self.block, axis=1)[:, : self.integers.shape[1]]
        return self.integers.astype(np.float32) * spread


def round_rows(
    rows: np.ndarray, bits: int, block: int = 0, moments: InputMoments | None = None
) -> RoundedRows:
    """Round rows of weights to signed integers, symmetric around zero.

    Args:
        rows: Floats ``[rows, inputs]``.
        bits: Bits of the integers, 2 to 8.
        block: Number of inputs per scale; 0 for a whole row.
        moments: Moments of the rows' inputs; None rounds each weight to the nearest integer.
    """
    inputs = rows.shape[1]
    block = min(block, inputs) or inputs
    largest = 2 ** (bits - 1) - 1
    exact = rows.astype(np.float64)
    importance = None
    if moments is not None and moments.count:
        groups = len(moments.second)
        diagonal = np.diagonal(moments.second, axis1=1, axis2=2)
        importance = np.repeat(diagonal, len(rows) // groups, axis=0)
    scales = _scales(exact, largest, block, importance if bits < _FINE else None, bits < _FINE)
    steps = np.repeat(scales.astype(np.float64), block, axis=1)[:, :inputs]
    if importance is None or moments is None:
        integers = np.clip(np.round(exact / steps), -largest, largest)
    else:
        integers = _compensated(exact, steps, largest, moments)
    return RoundedRows(integers.astype(np.int8), scales, block)


def mean_shift(rows: np.ndarray, rounded: RoundedRows, moments: InputMoments) -> np.ndarray:
    """Return the decrease that rounding causes in each row's mean output, float64 ``[rows]``.

    Args:
        rows: Float rows.
        rounded: The rounded rows.
        moments: Moments of the rows' inputs.
    """
    groups = len(moments.total)
    lost = rows.astype(np.float64) - rounded.values()
    grouped = lost.reshape(groups, len(rows) // groups, -1)
    return np.einsum("gri,gi->gr", grouped, moments.mean).ravel()


def _scales(
    rows: np.ndarray, largest: int, block: int, importance: np.ndarray | None, search: bool
) -> np.ndarray:
    count, inputs = rows.shape
    blocks = -(-inputs // block)
    missing = blocks * block - inputs
    blocked = np.pad(rows, ((0, 0), (0, missing))).reshape(count, blocks, block)
    max_abs = np.abs(blocked).max(axis=-1)
    # A block of zeros may have any scale; the lower limit keeps products normal numbers.
    max_abs = np.where(max_abs > 0, np.maximum(max_abs, largest * 1e-20), largest)
    if not search:
        return (max_abs / largest).astype(np.float32)
    weight: np.ndarray | float = 1.0
    if importance is not None:
        weight = np.pad(importance, ((0, 0), (0, missing))).reshape(count, blocks, block)
    best = np.full((count, blocks), np.inf)
    chosen = np.ones((count, blocks), np.float32)
    # Start with the widest: clip only if that reduces the loss.
    for share in _SHARES[::-1]:
        scale = (max_abs * share / largest).astype(np.float32)
        step = scale.astype(np.float64)[..., None]
        error = blocked - np.clip(np.round(blocked / step), -largest, largest) * step
        loss = (weight * error**2).sum(axis=-1)
        better = loss < best
        best = np.where(better, loss, best)
        chosen = np.where(better, scale, chosen)
    return chosen


def _compensated(
    rows: np.ndarray, steps: np.ndarray, largest: int, moments: InputMoments
) -> np.ndarray:
    groups, inputs = moments.total.shape
    factors = _error_factors(moments.second)
    # Inputs first: all rows of one input are contiguous.
    left = np.ascontiguousarray(rows.reshape(groups, -1, inputs).transpose(2, 0, 1))
    step = np.ascontiguousarray(steps.reshape(groups, -1, inputs).transpose(2, 0, 1))
    integers = np.empty_like(left)
    for start in range(0, inputs, _STRIDE):
        end = min(start + _STRIDE, inputs)
        errors = np.empty((end - start, *left.shape[1:]))
        for place in range(start, end):
            integers[place] = np.round(left[place] / step[place]).clip(-largest, largest)
            lost = left[place] - integers[place] * step[place]
            error = lost / factors[:, place, place, None]
            errors[place - start] = error
            left[place + 1 : end] -= factors[:, place, place + 1 : end].T[..., None] * error
        left[end:] -= np.einsum(
            "pgi,pgr->igr", factors[:, start:end, end:].swapaxes(0, 1), errors, optimize=True
        )
    return integers.transpose(1, 2, 0).reshape(rows.shape)


def _error_factors(second: np.ndarray) -> np.ndarray:
    """Return upper Cholesky factors of the inverse moments, ``[groups, inputs, inputs]``."""
    damped = second.copy()
    diagonal = np.einsum("gii->gi", damped)
    mean = diagonal.mean(axis=1, keepdims=True)
    # An input that is always zero neither passes errors on nor absorbs any.
    diagonal[...] = np.where(diagonal > 0, diagonal + _DAMPING * mean, np.maximum(mean, 1.0))
    return np.swapaxes(np.linalg.cholesky(np.linalg.inv(damped)), 1, 2)
