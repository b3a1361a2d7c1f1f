"""How much of a painting repeats with the grid of the network that painted it."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgesdk.errors import UsageError

__all__ = ["lattice_share"]

#: Side of the neighbourhood whose mean is taken off: what is left are strokes and dots.
_NEIGHBOURHOOD = 17


def lattice_share(painted: torch.Tensor, period: int) -> torch.Tensor:
    """The share of strokes and dots that lie at the same places of every cell of a grid.

    Networks that scale pictures down and up know where they are on their own grid, and a loss of
    Gram matrices rewards a pattern that repeats with it as it does strokes. A checkerboard is such
    a pattern; people see it at once, content losses do not.

    Brightness is freed of its local mean and averaged over all cells of ``period`` x ``period``
    pixels; the answer is the variance of that mean cell as a share of the whole. Patterns of half
    the period count, and those of a third do not. Strokes that know no grid have about one part in
    as many as there are cells.

    Args:
        painted: ``[N, C, H, W]``, float, at least one cell and 17 pixels each way.
        period: Of the grid, in pixels; most often how often the network halves the size, as a power
            of two.

    Returns:
        ``[N]``, 0..1; 0 for a picture of one colour.

    Raises:
        UsageError: A picture is too small, or the period is below 2.
    """
    height, width = painted.shape[-2:]
    least = max(period, _NEIGHBOURHOOD)
    if period < 2 or min(height, width) < least:
        raise UsageError(
            f"a grid of {period} pixels needs a period from 2 and pictures from {least} x {least}, "
            f"not {width} x {height}"
        )
    grey = painted.float().mean(dim=1, keepdim=True)
    around = functional.avg_pool2d(
        grey, _NEIGHBOURHOOD, 1, _NEIGHBOURHOOD // 2, count_include_pad=False
    )
    strokes = (grey - around)[:, 0, : height // period * period, : width // period * period]
    cells = strokes.unflatten(2, (-1, period)).unflatten(1, (-1, period))
    whole = strokes.var(dim=(1, 2), correction=0)
    share = cells.mean(dim=(1, 3)).var(dim=(1, 2), correction=0) / whole.clamp_min(1e-12)
    # Rounding must not turn a plain picture into a lattice.
    return torch.where(whole > 1e-12, share, torch.zeros_like(share))
