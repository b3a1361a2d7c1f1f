"""Measure checkerboard artefacts: patterns that repeat with the grid of the painting network."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgesdk.errors import UsageError

__all__ = ["grid_artifact_share"]

#: Side of the neighbourhood whose mean is subtracted, which leaves strokes and dots.
_NEIGHBOURHOOD = 17


def grid_artifact_share(painted: torch.Tensor, period: int) -> torch.Tensor:
    """Compute the share of fine detail that repeats with a period of ``period`` pixels.

    Networks with down- and upsampling can paint patterns that follow their own grid, such as a
    checkerboard. A Gram loss rewards them like strokes, and content losses do not notice them.

    The local mean of the luminance is subtracted, and the rest is averaged over all cells of
    ``period`` x ``period`` pixels. The result is the variance of that mean cell as a share of the
    total variance. Patterns of half the period count, those of a third do not. Strokes without a
    grid give about 1 / (number of cells).

    Args:
        painted: ``[N, C, H, W]``, float, at least one cell and 17 pixels each way.
        period: Period of the grid in pixels; usually the network's total downsampling factor.

    Returns:
        ``[N]``, 0..1; 0 for a picture of one colour.

    Raises:
        UsageError: A picture is too small, or the period is below 2.
    """
    height, width = painted.shape[-2:]
    least = max(period, _NEIGHBOURHOOD)
    if period < 2 or min(height, width) < least:
        raise UsageError(
            f"a grid of period {period} needs a period of at least 2 and pictures of at least "
            f"{least} x {least} pixels, not {width} x {height}"
        )
    grey = painted.float().mean(dim=1, keepdim=True)
    around = functional.avg_pool2d(
        grey, _NEIGHBOURHOOD, 1, _NEIGHBOURHOOD // 2, count_include_pad=False
    )
    strokes = (grey - around)[:, 0, : height // period * period, : width // period * period]
    cells = strokes.unflatten(2, (-1, period)).unflatten(1, (-1, period))
    whole = strokes.var(dim=(1, 2), correction=0)
    share = cells.mean(dim=(1, 3)).var(dim=(1, 2), correction=0) / whole.clamp_min(1e-12)
    # Rounding errors of a flat picture must not count as a pattern.
    return torch.where(whole > 1e-12, share, torch.zeros_like(share))
