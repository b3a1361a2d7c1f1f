"""Losses of style transfer: Gram matrices, moments, content, smoothness, temporal stability.

Sources: Gatys, Ecker and Bethge, CVPR 2016 (Gram matrices); Johnson, Alahi and Fei-Fei, ECCV 2016
(their normalisation by the number of values, total variation); Huang and Belongie, ICCV 2017
(AdaIN and its losses); Ruder, Dosovitskiy and Brox, GCPR 2016 (the temporal loss).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.training.style.gram import checked_shape, gram_matrix
from edgesdk.training.style.synthetic_motion import warp

__all__ = [
    "adain",
    "content_loss",
    "gram_loss",
    "guided_upscale_loss",
    "interpolation_weights",
    "moments",
    "moments_loss",
    "temporal_loss",
    "total_variation",
]

#: Added to variances, so that flat areas have a finite deviation (AdaIN's value).
EPSILON = 1e-5

#: A usual mean difference between an interpolated painting and its reference, and a negligible one.
_USUAL, _LEAST = 0.03, 1 / 255


def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute mean and standard deviation of each channel of each picture.

    The deviation is the biased one, with :data:`EPSILON` under the root, for content and style;
    the first published code mixed both conventions.

    Args:
        features: ``[N, C, H, W]``.

    Returns:
        Two tensors ``[N, C, 1, 1]``.

    Raises:
        UsageError: Not four axes, or an empty one.
    """
    checked_shape(features)
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
    return mean, torch.sqrt(variance + EPSILON)


def adain(content: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Give each channel the mean and deviation of a style (AdaIN, Huang and Belongie, eq. 8).

    Args:
        content: ``[N, C, H, W]``.
        mean: Mean of the style, ``[N, C, 1, 1]`` or ``[1, C, 1, 1]``.
        deviation: Deviation of the style, likewise, at least 0.

    Returns:
        ``[N, C, H, W]``.

    Raises:
        UsageError: Shapes do not match.
    """
    _, channels, _, _ = checked_shape(content)
    for name, value in (("mean", mean), ("deviation", deviation)):
        if value.dim() != 4 or value.shape[1:] != (channels, 1, 1):
            raise UsageError(
                f"the style's {name} must be [N, {channels}, 1, 1], not {list(value.shape)}"
            )
    own_mean, own_deviation = moments(content)
    return (content - own_mean) / own_deviation * deviation + mean


def gram_loss(
    painted: Mapping[str, torch.Tensor], style: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Compute the distance of the Gram matrices of a painting and a style, averaged over layers.

    Each layer's squared difference is divided by the squared norm of the style's matrix, so that
    layers with large activations do not dominate: 0 is equal, 1 is the loss of a black picture.

    Args:
        painted: Features by layer, ``[N, C, H, W]``.
        style: Gram matrices by layer, ``[N, C, C]`` or ``[1, C, C]``; all of these layers count.

    Returns:
        ``[N]``, one per picture.

    Raises:
        UsageError: ``style`` is empty, or ``painted`` lacks a layer.
    """
    _same_layers(painted, style)
    parts = []
    for layer, wanted in style.items():
        found = gram_matrix(painted[layer])
        scale = wanted.square().sum(dim=(1, 2)).clamp_min(1e-12)
        parts.append((found - wanted).square().sum(dim=(1, 2)) / scale)
    return torch.stack(parts).mean(dim=0)


def moments_loss(
    painted: Mapping[str, torch.Tensor], style: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """Compute the distance of channel means and deviations from a style's, averaged over layers.

    Huang and Belongie, equation 13, each layer divided by the style's squared norm.

    Args:
        painted: Features by layer, ``[N, C, H, W]``.
        style: :func:`moments` by layer.

    Returns:
        ``[N]``.

    Raises:
        UsageError: ``style`` is empty, or ``painted`` lacks a layer.
    """
    _same_layers(painted, style)
    parts = []
    for layer, wanted in style.items():
        found = moments(painted[layer])
        for mine, its in zip(found, wanted, strict=True):
            scale = its.square().sum(dim=(1, 2, 3)).clamp_min(1e-12)
            parts.append((mine - its).square().sum(dim=(1, 2, 3)) / scale)
    return torch.stack(parts).sum(dim=0) / len(style)


def content_loss(
    painted: Mapping[str, torch.Tensor], content: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Compute the distance of the features of a painting and its photograph, averaged over layers.

    Each layer's mean squared difference is divided by the photograph's mean square: 0 is equal.

    Args:
        painted: Features by layer, ``[N, C, H, W]``.
        content: Features of the photograph, likewise; all of these layers count.

    Returns:
        ``[N]``.

    Raises:
        UsageError: ``content`` is empty, or ``painted`` lacks a layer.
    """
    _same_layers(painted, content)
    parts = []
    for layer, wanted in content.items():
        scale = wanted.square().mean(dim=(1, 2, 3)).clamp_min(1e-12)
        parts.append((painted[layer] - wanted).square().mean(dim=(1, 2, 3)) / scale)
    return torch.stack(parts).mean(dim=0)


def total_variation(pictures: torch.Tensor) -> torch.Tensor:
    """Sum the squared differences of horizontal and vertical neighbours.

    Args:
        pictures: ``[N, C, H, W]``.

    Returns:
        ``[N]``.

    Raises:
        UsageError: Not four axes, or an empty one.
    """
    checked_shape(pictures)
    across, down = (steps.square().sum(dim=(1, 2, 3)) for steps in _gradients(pictures))
    return across + down


def temporal_loss(
    now: torch.Tensor, before: torch.Tensor, flow: torch.Tensor, visible: torch.Tensor
) -> torch.Tensor:
    """Compute the distance of a painted frame and the previous one, warped by optical flow.

    Ruder et al., equation 7.

    Args:
        now: The painted frame, ``[N, C, H, W]``.
        before: The previous painted frame, likewise.
        flow: Offset of each pixel of ``now`` to its position in ``before``, ``[N, 2, H, W]``,
            (x, y) in pixels.
        visible: ``[N, 1, H, W]``, 1 for pixels visible in ``before``, else 0.

    Returns:
        ``[N]``: the mean squared difference over visible pixels and channels; 0 if none is visible.

    Raises:
        UsageError: Shapes do not match.
    """
    count, channels, height, width = checked_shape(now)
    wanted = {
        "before": (before, (count, channels, height, width)),
        "flow": (flow, (count, 2, height, width)),
        "visible": (visible, (count, 1, height, width)),
    }
    for name, (value, shape) in wanted.items():
        if tuple(value.shape) != shape:
            raise UsageError(f"{name} must be {list(shape)}, not {list(value.shape)}")
    different = ((now - warp(before, flow)).square() * visible).sum(dim=(1, 2, 3))
    return different / (visible.sum(dim=(1, 2, 3)) * channels).clamp_min(1)


def guided_upscale_loss(
    answer: torch.Tensor, reference: torch.Tensor, edges: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Compute the three unweighted terms of guided upscaling's loss for every picture, ``[N]``.

    Args:
        answer: Enlarged painting, ``[N, 3, H, W]``.
        reference: Painting at full size.
        edges: Picture whose gradients the answer should have: the original or the reference.

    Returns:
        ``difference`` between answer and reference, ``gradient``: difference between the gradients
        of answer and edges (both mean absolute values), and ``variation`` (the sum of squares).

    Raises:
        UsageError: The tensors have other or different shapes.
    """
    if answer.dim() != 4 or not answer.shape == reference.shape == edges.shape:
        shapes = ", ".join(str(list(one.shape)) for one in (answer, reference, edges))
        raise UsageError(f"three tensors of one shape [N, 3, H, W] are needed, not {shapes}")
    pairs = zip(_gradients(answer), _gradients(edges), strict=True)
    across, down = ((mine - its).abs().mean(dim=(1, 2, 3)) for mine, its in pairs)
    return {
        "difference": (answer - reference).abs().mean(dim=(1, 2, 3)),
        "gradient": (across + down) / 2,
        "variation": total_variation(answer),
    }


def interpolation_weights(painted: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the weight of each picture, ``[N]``: 1 where interpolation has a usual error.

    A gain of one decibel then counts as much in a smooth painting as in a noisy one.
    """
    plain = functional.interpolate(painted, size=reference.shape[2:], mode="bicubic")
    return _USUAL / ((plain - reference).abs().mean(dim=(1, 2, 3)) + _LEAST)


def _gradients(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def _same_layers(painted: Mapping[str, object], needed: Mapping[str, object]) -> None:
    if not needed:
        raise UsageError("a loss needs at least one layer")
    absent = [layer for layer in needed if layer not in painted]
    if absent:
        raise UsageError(
            f"features of {', '.join(absent)} are missing",
            remedy=f"use the available layers: {', '.join(painted)}",
        )
