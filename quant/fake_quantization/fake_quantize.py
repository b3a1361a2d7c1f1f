"""Fake quantization of tensors: rounded to a grid, held as floats.

Gradients pass as if nothing was rounded (straight-through estimator, Bengio et al. 2013); clipped
values get none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgesdk.quant.ranges import scale_and_zero_point
from edgesdk.quant.spec import WeightQuant

__all__ = [
    "fake_quantize_dynamic",
    "fake_quantize_static",
    "fake_quantize_weight",
    "palettized",
    "weight_scales",
]

#: Bins of the density for the initial palette, and the largest number of refinement rounds.
_DENSITY_BINS = 2048
_PALETTE_ROUNDS = 100


def fake_quantize_weight(
    weight: Tensor, quant: WeightQuant, *, transposed: bool = False, groups: int = 1
) -> Tensor:
    """Round weights as a target stores them.

    Args:
        weight: ``[out, in / groups, ...]``, or ``[in, out / groups, ...]`` of a transposed
            convolution.
        quant: Form, bits and granularity.
        transposed: True for a transposed convolution.
        groups: Groups of a convolution.

    Returns:
        Nearest values on the grid, in the shape of ``weight``.
    """
    with torch.no_grad():
        if quant.form == "palette":
            rounded = palettized(weight, quant.bits)
        else:
            rows = _by_output(weight, transposed, groups)
            scales = weight_scales(rows, quant)
            largest = quant.largest
            rounded = (rows / scales).round_().clamp_(-largest, largest).mul_(scales)
            rounded = _by_input(rounded, transposed, groups).reshape(weight.shape)
        change = rounded - weight
    return weight + change if weight.requires_grad else rounded


def weight_scales(rows: Tensor, quant: WeightQuant) -> Tensor:
    """Return the scales of symmetric integers from the largest magnitudes.

    Args:
        rows: Weights ``[out, in, ...]``. A block is ``quant.block`` consecutive inputs of one
            output, with all their kernel positions; the last one of an output may be shorter.
        quant: With form ``linear``.

    Returns:
        Positive scales that broadcast to ``rows``; 1 for weights that are all (nearly) zero.
    """
    magnitude = rows.detach().abs()
    if quant.granularity == "tensor" or rows.ndim < 2:
        max_abs = magnitude.amax().reshape((1,) * rows.ndim)
    elif quant.granularity == "channel":
        max_abs = magnitude.flatten(1).amax(1).reshape(-1, *(1,) * (rows.ndim - 1))
    else:
        blocks = [part.flatten(1).amax(1) for part in magnitude.split(quant.block, dim=1)]
        max_abs = torch.stack(blocks, 1).repeat_interleave(quant.block, 1)[:, : rows.shape[1]]
        max_abs = max_abs.reshape(*rows.shape[:2], *(1,) * (rows.ndim - 2))
    scales = max_abs / quant.largest
    # Subnormal scales cannot be divided by.
    return torch.where(scales >= torch.finfo(scales.dtype).tiny, scales, torch.ones_like(max_abs))


def _by_output(weight: Tensor, transposed: bool, groups: int) -> Tensor:
    """Return weights as ``[out, in / groups, ...]``, from any layout."""
    if not transposed:
        return weight
    inputs, outputs, *kernel = weight.shape
    parted = weight.reshape(groups, inputs // groups, outputs, *kernel).transpose(1, 2)
    return parted.reshape(groups * outputs, inputs // groups, *kernel)


def _by_input(rows: Tensor, transposed: bool, groups: int) -> Tensor:
    """Undo :func:`_by_output`."""
    if not transposed:
        return rows
    outputs, inputs, *kernel = rows.shape
    parted = rows.reshape(groups, outputs // groups, inputs, *kernel).transpose(1, 2)
    return parted.reshape(groups * inputs, outputs // groups, *kernel)


def palettized(weight: Tensor, bits: int) -> Tensor:
    """Replace weights by the nearest of the ``2 ** bits`` best values.

    Lloyd's algorithm on the sorted weights finds the values. It starts from equal shares of the
    cube root of the density, the optimum for many values.

    Args:
        weight: Tensor of any shape.
        bits: Bits of an index.
    """
    values, order = torch.sort(weight.detach().flatten().double())
    size = 2**bits
    if values.numel() == 0 or len(torch.unique_consecutive(values)) <= size:
        return weight.detach().clone()
    centres = _spread(values, size)
    sums = torch.cat([values.new_zeros(1), values.cumsum(0)])
    bounds = values.new_zeros(0)
    for _ in range(_PALETTE_ROUNDS):
        edges = torch.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        ends = torch.cat([edges, edges.new_tensor([values.numel()])])
        starts = torch.cat([edges.new_tensor([0]), edges])
        count = ends - starts
        # Values without nearest weights stay unchanged.
        mean = (sums[ends] - sums[starts]) / count.clamp(min=1)
        centres = torch.where(count > 0, mean, centres)
        if torch.equal(edges, bounds):
            break
        bounds = edges
    nearest = torch.searchsorted((centres[1:] + centres[:-1]) / 2, values)
    result = torch.empty_like(values)
    result[order] = centres[nearest]
    return result.reshape(weight.shape).to(weight.dtype)


def _spread(values: Tensor, size: int) -> Tensor:
    low, high = float(values[0]), float(values[-1])
    counts = torch.histc(values, _DENSITY_BINS, low, high)
    share = counts.pow(1 / 3).cumsum(0)
    wanted = (torch.arange(size, dtype=values.dtype) + 0.5) / size * share[-1]
    bins = torch.searchsorted(share, wanted).clamp(max=_DENSITY_BINS - 1)
    inside = 1 - (share[bins] - wanted) / (share[bins] - share[bins] + counts[bins].pow(1 / 3))
    centres = low + (bins + inside) * (high - low) / _DENSITY_BINS
    return centres.sort().values


def fake_quantize_static(
    values: Tensor, low: float, high: float, *, bits: int = 8, symmetric: bool = False
) -> Tensor:
    """Round values to the grid of a range.

    Args:
        values: Tensor of any shape.
        low: Lowest value of the range, at most 0.
        high: Highest value of the range, at least 0.
        bits: Bits of the signed integers.
        symmetric: See :func:`edgesdk.quant.ranges.scale_and_zero_point`.
    """
    scale, zero = scale_and_zero_point(low, high, bits=bits, symmetric=symmetric)
    largest = 2 ** (bits - 1) - 1
    smallest = -largest if symmetric else -largest - 1
    return torch.fake_quantize_per_tensor_affine(
        values.float(), max(scale, torch.finfo(torch.float32).tiny), zero, smallest, largest
    ).to(values.dtype)


def fake_quantize_dynamic(values: Tensor, *, bits: int = 8) -> Tensor:
    """Round each sample of a batch to the grid of its own range.

    Args:
        values: ``[batch, ...]``.
        bits: Bits of the integers.
    """
    with torch.no_grad():
        exact = values.float()
        flat = exact.flatten(1) if exact.ndim > 1 else exact.reshape(1, -1)
        shape = (-1,) + (1,) * (exact.ndim - 1) if exact.ndim > 1 else (1,)
        low = flat.amin(1).clamp(max=0).reshape(shape)
        high = flat.amax(1).clamp(min=0).reshape(shape)
        levels = 2**bits - 1
        scale = (high - low) / levels
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        zero = (-low / scale).round()
        rounded = ((exact / scale).round() + zero).clamp(0, levels).sub(zero).mul(scale)
        change = rounded.to(values.dtype) - values
    return values + change
