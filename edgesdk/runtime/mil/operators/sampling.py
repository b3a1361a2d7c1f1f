"""Sample images at computed coordinates: resampling and affine transforms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator

__all__: list[str] = []

_TORCH_PADDING = {
    ("constant", True): "zeros",
    ("constant", False): "zeros",
    ("border", True): "border",
    ("border", False): "border",
    # torch reflects about pixel centres or pixel edges, depending on align_corners.
    ("reflection", True): "reflection",
    ("symmetric", False): "reflection",
}


def _to_pixels(coordinates: Tensor, sizes: Tensor, mode: str, align_corners: bool) -> Tensor:
    if mode == "unnormalized":
        return coordinates
    unit = coordinates if mode == "normalized_zero_to_one" else (coordinates + 1) / 2
    return unit * (sizes - 1) if align_corners else unit * sizes - 0.5


def _fold(pixels: Tensor, sizes: Tensor, padding_mode: str) -> Tensor:
    """Map pixel positions into the image according to ``padding_mode``."""
    last = sizes - 1
    if padding_mode == "symmetric":
        period = 2 * sizes
        folded = torch.remainder(pixels + 0.5, period)
        pixels = torch.minimum(folded, period - folded) - 0.5
    elif padding_mode == "reflection":
        period = torch.clamp(2 * last, min=1.0)
        folded = torch.remainder(pixels, period)
        pixels = torch.minimum(folded, period - folded)
    elif padding_mode != "border":
        raise ValueError(f"unknown padding mode {padding_mode!r}")
    return torch.minimum(torch.clamp(pixels, min=0.0), last)


@operator("resample")
def _resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    grid = coordinates.to(torch.float32)
    direct = _TORCH_PADDING.get((padding_mode, align_corners))
    # Values around the padding value sample to zero outside, which torch calls padding with zeros.
    shift = padding_value if padding_mode == "constant" else 0.0
    image = x - shift if shift else x
    if direct is None or coordinates_mode != "normalized_minus_one_to_one":
        sizes = torch.tensor([x.shape[3], x.shape[2]], dtype=torch.float32)
        pixels = _to_pixels(grid, sizes, coordinates_mode, align_corners)
        if padding_mode != "constant":
            pixels = _fold(pixels, sizes, padding_mode)
        # Convert to torch's unit square with pixel edges at its ends: this form does not divide by
        # size - 1 and so also works for an image of one pixel.
        grid, align_corners = (2 * pixels + 1) / sizes - 1, False
        direct = "zeros" if padding_mode == "constant" else "border"
    sampled = F.grid_sample(
        image, grid, mode=sampling_mode, padding_mode=direct, align_corners=align_corners
    )
    return sampled + shift if shift else sampled


@operator("affine")
def _affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    batch, channels = x.shape[:2]
    matrix = transform_matrix.reshape(-1, 2, 3).expand(batch, -1, -1)
    grid = F.affine_grid(
        matrix, [batch, channels, output_height, output_width], align_corners=align_corners
    )
    return _resample(
        x, grid, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners
    )
