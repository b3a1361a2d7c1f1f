"""Resize the last two dimensions, and crop resized boxes from them.

MIL has five *sampling modes* that place the output's grid over the input's pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator

__all__: list[str] = []


def _grid(mode: str, extent: Tensor | float, count: int) -> Tensor:
    """Compute the positions of ``count`` samples over ``extent`` pixels, before clamping.

    Args:
        mode: Sampling mode.
        extent: Number of pixels, fractional for a box; a column of them gives one row each.
        count: Number of samples.
    """
    steps = torch.arange(count, dtype=torch.float64)
    size = torch.as_tensor(extent, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if count == 1:
            middle = (size - 1) / 2 if mode == "ALIGN_CORNERS" else torch.zeros_like(size)
            return steps + middle
        return steps * (size - 1) / (count - 1)
    if mode == "DEFAULT":
        return steps * size / count
    if mode == "OFFSET_CORNERS":
        return (steps + 0.5) * torch.clamp(size - 1, min=1.0) / count
    if mode == "UNALIGN_CORNERS":
        return (steps + 0.5) * size / count - 0.5
    raise ValueError(f"unknown sampling mode {mode!r}")


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Reshape a vector to broadcast along one axis of ``x``."""
    shape = [1] * x.dim()
    shape[axis] = -1
    return values.reshape(shape)


def _sampled(x: Tensor, axis: int, position: Tensor) -> Tensor:
    """Interpolate linearly along one axis, at positions clamped to the image."""
    last = x.shape[axis] - 1
    position = position.clamp(0, last)
    low = position.floor().to(torch.int64)
    share = _along((position - low).to(torch.float32), x, axis)
    near, far = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=last))
    return near + (far - near) * share


def _linear(x: Tensor, axis: int, mode: str, count: int) -> Tensor:
    return _sampled(x, axis, _grid(mode, x.shape[axis], count))


def _nearest(x: Tensor, axis: int, mode: str, count: int) -> Tensor:
    size = x.shape[axis]
    # A sample halfway between two pixels takes the first.
    source = torch.ceil(_grid(mode, size, count) - 0.5)
    return x.index_select(axis, source.to(torch.int64).clamp(0, size - 1))


def _covering(x: Tensor, axis: int, count: int) -> Tensor:
    """Take for every sample the pixel it lies in, with integer arithmetic."""
    size = x.shape[axis]
    return x.index_select(axis, torch.arange(count) * size // count)


def _interpolate(x: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    lead = x.shape[:-2]
    image = x.reshape(1, -1, *x.shape[-2:])
    resized = F.interpolate(
        image, size=(height, width), mode="bilinear", align_corners=align_corners
    )
    return resized.reshape(*lead, height, width)


@operator("upsample_bilinear")
def _upsample_bilinear(
    x: Tensor,
    scale_factor_height: float,
    scale_factor_width: float,
    align_corners: bool,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    height = _scaled(x.shape[-2], scale_factor_height)
    width = _scaled(x.shape[-1], scale_factor_width)
    centred = not align_corners if half_pixel_centers is None else half_pixel_centers
    if centred != align_corners:
        return _interpolate(x, height, width, align_corners)
    if align_corners:
        raise ValueError("align_corners and half_pixel_centers exclude each other")
    return _linear(_linear(x, -2, "DEFAULT", height), -1, "DEFAULT", width)


def _scaled(size: int, factor: float) -> int:
    # A factor such as 7/5 is stored in single precision and may be slightly too small.
    return math.floor(size * factor + 1e-4)


@operator("upsample_nearest_neighbor")
def _upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: float, scale_factor_width: float
) -> Tensor:
    # The factor determines the output's size; the sizes determine each pixel's source.
    rows = _covering(x, -2, _scaled(x.shape[-2], scale_factor_height))
    return _covering(rows, -1, _scaled(x.shape[-1], scale_factor_width))


@operator("resize_nearest_neighbor")
def _resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    return _covering(_covering(x, -2, target_size_height), -1, target_size_width)


@operator("resize_bilinear")
def _resize_bilinear(
    x: Tensor, target_size_height: int, target_size_width: int, sampling_mode: str
) -> Tensor:
    rows = _linear(x, -2, sampling_mode, target_size_height)
    return _linear(rows, -1, sampling_mode, target_size_width)


@operator("resize")
def _resize(
    x: Tensor,
    shape: tuple[int, ...],
    resized_dims: int,
    interpolation_mode: str,
    sampling_mode: str,
) -> Tensor:
    along = _linear if interpolation_mode == "LINEAR" else _nearest
    data = x if x.is_floating_point() or along is _nearest else x.to(torch.float32)
    for axis in range(-resized_dims, 0):
        # A zero keeps the input's size.
        count = shape[axis] or x.shape[axis]
        if count != x.shape[axis]:
            data = along(data, axis, sampling_mode, count)
    return data


def _corners(boxes: Tensor, mode: str) -> Tensor:
    """Convert boxes to top, left, bottom, right."""
    if mode.endswith("WIDTH_FIRST"):
        boxes = boxes[:, [1, 0, 3, 2]]
    if mode.startswith("CENTER_SIZE"):
        centre, size = boxes[:, :2], boxes[:, 2:]
        return torch.cat([centre - size / 2, centre + size / 2], dim=1)
    return boxes


def _cut_boxes(
    x: Tensor, images: Tensor, corners: Tensor, height: int, width: int, mode: str, outside: float
) -> Tensor:
    """Crop resized boxes ``[n, channels, height, width]``; ``outside`` fills beyond the image."""
    top, left, bottom, right = corners.to(torch.float64).T.unsqueeze(-1)
    rows = top + _grid(mode, bottom - top + 1, height)
    columns = left + _grid(mode, right - left + 1, width)
    crops = []
    for image, row, column in zip(images.tolist(), rows, columns, strict=True):
        crop = x[image]
        for axis, position in ((-2, row), (-1, column)):
            inside = (position >= 0) & (position <= crop.shape[axis] - 1)
            samples = _sampled(crop, axis, position)
            crop = torch.where(_along(inside, crop, axis), samples, outside)
        crops.append(crop)
    return torch.stack(crops)


@operator("crop_resize")
def _crop_resize(
    x: Tensor,
    target_height: int,
    target_width: int,
    normalized_coordinates: bool,
    spatial_scale: float,
    box_coordinate_mode: str,
    sampling_mode: str,
    pad_value: float = 0.0,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
) -> Tensor:
    batch, size = x.shape[0], (target_height, target_width)
    # The older form packs the image's index before the four coordinates.
    packed = None if roi is None else roi.reshape(roi.shape[0], -1)
    coordinates = boxes if packed is None else packed[:, -4:]
    if coordinates is None:
        raise ValueError("crop_resize needs boxes")
    corners = _corners(coordinates.to(torch.float32) * spatial_scale, box_coordinate_mode)
    if normalized_coordinates:
        reach = torch.tensor([x.shape[-2] - 1, x.shape[-1] - 1], dtype=torch.float32)
        corners = corners * reach.repeat(2)
    count = corners.shape[0]
    if packed is None:
        images = torch.arange(count) if box_indices is None else box_indices.reshape(-1)
        return _cut_boxes(x, images, corners, *size, sampling_mode, pad_value)
    if packed.shape[1] == 5:
        images = packed[:, 0].to(torch.int64)
        return _cut_boxes(x, images, corners, *size, sampling_mode, pad_value).unsqueeze(1)
    images = torch.arange(batch).repeat(count)
    every = corners.repeat_interleave(batch, dim=0)
    cut = _cut_boxes(x, images, every, *size, sampling_mode, pad_value)
    return cut.reshape(count, batch, *cut.shape[1:])
