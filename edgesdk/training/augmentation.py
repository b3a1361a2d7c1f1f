"""Augment a whole batch on the device, depending on seed, epoch and sample only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from edgesdk.errors import DataError
from edgesdk.training.counter_random import key, uniform
from edgesdk.training.recipes import Augmentation

__all__ = ["augmented", "mixed", "mixup_share", "normalised"]

# Luminance of ITU-R BT.601.
_GREY = (0.299, 0.587, 0.114)


class _Draws:
    """Uniform random numbers, one per sample, on the device of the images."""

    def __init__(self, seed: int, epoch: int, indices: np.ndarray, device: torch.device) -> None:
        self._of = (seed, epoch, indices)
        self._device = device

    def uniform(self, purpose: str) -> Tensor:
        seed, epoch, indices = self._of
        drawn = uniform(seed, purpose, epoch, indices)
        return torch.from_numpy(drawn).to(self._device, torch.float32)

    def integer(self, purpose: str, count: int) -> Tensor:
        """Draw integers of 0..count-1, one per sample."""
        seed, epoch, indices = self._of
        drawn = np.floor(uniform(seed, purpose, epoch, indices) * count)
        return torch.from_numpy(drawn).to(self._device, torch.int64)


def augmented(
    images: Tensor,
    settings: Augmentation,
    *,
    indices: np.ndarray,
    seed: int,
    epoch: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Tensor:
    """Augment and normalise a batch.

    The order is crop and flip, colour, :func:`normalised`, cutout. Crop pads with black (0) before
    normalisation; cutout writes 0 after it.

    Args:
        images: ``[N, C, H, W]``, ``uint8`` or floating.
        settings: Augmentations and their strengths.
        indices: Index of every sample in its data set.
        seed: Seed of the run.
        epoch: Epoch, from 0.
        mean: See :func:`normalised`.
        std: See :func:`normalised`.

    Returns:
        ``float32`` (or the floating dtype of ``images``) of the same shape.

    Raises:
        DataError: Colour augmentation of images that are not ``uint8``.
    """
    draws = _Draws(seed, epoch, indices, images.device)
    if settings.crop:
        images = _cropped(images, settings.crop, draws)
    if settings.flip:
        mirrored = draws.uniform("flip") < settings.flip
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if settings.colour:
        images = _coloured(images, settings.colour, draws)
    images = normalised(images, mean, std)
    return _cut_out(images, settings.cutout, draws) if settings.cutout else images


def normalised(
    images: Tensor, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Tensor:
    """Return ``(images - mean) / std`` after scaling ``uint8`` images to 0..1.

    Args:
        images: ``[N, C, H, W]``; floating images keep their dtype and, without ``mean`` and
            ``std``, their values.
        mean: One value per channel, for images of 0..1; None for 0.
        std: Likewise; None for 1.
    """
    if not images.is_floating_point():
        images = images.float() / 255
    for values, operation in ((mean, torch.sub), (std, torch.div)):
        if values is not None:
            if len(values) != images.shape[1]:
                raise DataError(
                    f"mean or std has {len(values)} values for images of {images.shape[1]} "
                    "channels",
                    remedy="give one value per channel",
                )
            table = torch.tensor(values, dtype=images.dtype, device=images.device)
            images = operation(images, table[:, None, None])
    return images


def _cropped(images: Tensor, border: int, draws: _Draws) -> Tensor:
    count, channels, height, width = images.shape
    device = images.device
    wide = pad(images, (border, border, border, border))
    rows = draws.integer("crop y", 2 * border + 1)[:, None] + torch.arange(height, device=device)
    columns = draws.integer("crop x", 2 * border + 1)[:, None] + torch.arange(width, device=device)
    samples = torch.arange(count, device=device)[:, None, None, None]
    planes = torch.arange(channels, device=device)[None, :, None, None]
    return wide[samples, planes, rows[:, None, :, None], columns[:, None, None, :]]


def _coloured(images: Tensor, strength: float, draws: _Draws) -> Tensor:
    if images.dtype != torch.uint8:
        raise DataError(
            f"colour augmentation needs uint8 images, not {images.dtype}",
            remedy="let the data set return uint8 images, or set augmentation.colour to 0",
        )
    images = images.float() / 255
    channels = images.shape[1]
    weights = images.new_tensor(_GREY if channels == 3 else [1 / channels] * channels)

    def factor(purpose: str) -> Tensor:
        return (1 + strength * (2 * draws.uniform(purpose) - 1))[:, None, None, None]

    def grey(pixels: Tensor) -> Tensor:
        return (pixels * weights[:, None, None]).sum(1, keepdim=True)

    images = (images * factor("brightness")).clamp(0, 1)
    middle = grey(images).mean((2, 3), keepdim=True)
    images = (middle + (images - middle) * factor("contrast")).clamp(0, 1)
    if channels == 3:
        plain = grey(images)
        images = (plain + (images - plain) * factor("saturation")).clamp(0, 1)
    return images


def _cut_out(images: Tensor, side: int, draws: _Draws) -> Tensor:
    height, width = images.shape[2:]
    top = draws.integer("cutout y", height) - side // 2
    left = draws.integer("cutout x", width) - side // 2
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    inside_y = (y >= top[:, None]) & (y < top[:, None] + side)
    inside_x = (x >= left[:, None]) & (x < left[:, None] + side)
    hole = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return images.masked_fill(hole, 0)


def mixup_share(alpha: float, seed: int, epoch: int, step: int) -> float:
    """Draw the mixup weight of an image against its partner, one per step of an epoch.

    The distribution is Beta(alpha, alpha) (Zhang et al., mixup, ICLR 2018), with a positive alpha.
    """
    return float(np.random.default_rng(key(seed, "mixup", epoch, step)).beta(alpha, alpha))


def mixed(images: Tensor, partners: Tensor, share: float) -> Tensor:
    """Return ``share`` of each image plus ``1 - share`` of its partner.

    Args:
        images: Floating ``[N, C, H, W]``.
        partners: Position of each image's partner, ``int64 [N]``.
        share: 0..1.
    """
    return share * images + (1 - share) * images[partners]
