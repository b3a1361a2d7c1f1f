"""Move elements between channels, batch and space."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator, operators_from

__all__: list[str] = []


operators_from({"pixel_shuffle": F.pixel_shuffle}, x=Tensor, upscale_factor=int)
operators_from({"pixel_unshuffle": F.pixel_unshuffle}, x=Tensor, downscale_factor=int)


@operator("depth_to_space")
def _depth_to_space(x: Tensor, block_size: int) -> Tensor:
    # The block's position is the slow part of the channel index; in pixel_shuffle it is the fast.
    n, c, h, w = x.shape
    block = block_size
    blocks = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // block**2, h * block, w * block)


@operator("space_to_depth")
def _space_to_depth(x: Tensor, block_size: int) -> Tensor:
    n, c, h, w = x.shape
    block = block_size
    blocks = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * block**2, h // block, w // block)


@operator("space_to_batch")
def _space_to_batch(x: Tensor, block_shape: tuple[int, ...], paddings: tuple[int, ...]) -> Tensor:
    top, bottom, left, right = paddings
    padded = F.pad(x, (left, right, top, bottom))
    n, c, h, w = padded.shape
    rows, columns = block_shape
    blocks = padded.reshape(n, c, h // rows, rows, w // columns, columns)
    return blocks.permute(3, 5, 0, 1, 2, 4).reshape(-1, c, h // rows, w // columns)


@operator("batch_to_space")
def _batch_to_space(x: Tensor, block_shape: tuple[int, ...], crops: tuple[int, ...]) -> Tensor:
    n, c, h, w = x.shape
    rows, columns = block_shape
    blocks = x.reshape(rows, columns, n // (rows * columns), c, h, w).permute(2, 3, 4, 0, 5, 1)
    space = blocks.reshape(-1, c, h * rows, w * columns)
    top, bottom, left, right = crops
    return space[:, :, top : space.shape[2] - bottom, left : space.shape[3] - right]
