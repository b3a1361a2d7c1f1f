"""Normalization over batches, instances, layers and neighbouring channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator

__all__: list[str] = []


@operator("batch_norm")
def _batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=epsilon)


def _normalise(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    variance, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon)


@operator("instance_norm")
def _instance_norm(
    x: Tensor, epsilon: float, gamma: Tensor | None = None, beta: Tensor | None = None
) -> Tensor:
    normal = _normalise(x, tuple(range(2, x.dim())), epsilon)
    a_channel = (-1, *([1] * (x.dim() - 2)))
    if gamma is not None:
        normal = normal * gamma.reshape(a_channel)
    return normal if beta is None else normal + beta.reshape(a_channel)


@operator("layer_norm")
def _layer_norm(
    x: Tensor,
    epsilon: float,
    axes: tuple[int, ...] | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
) -> Tensor:
    rank = x.dim()
    chosen = sorted({axis % rank for axis in axes}) if axes is not None else list(range(rank))
    shape = [x.shape[axis] for axis in chosen]
    if chosen == list(range(rank - len(chosen), rank)):
        return F.layer_norm(x, shape, gamma, beta, epsilon)
    normal = _normalise(x, tuple(chosen), epsilon)
    spread = [x.shape[axis] if axis in chosen else 1 for axis in range(rank)]
    if gamma is not None:
        normal = normal * gamma.reshape(spread)
    return normal if beta is None else normal + beta.reshape(spread)


@operator("l2_norm")
def _l2_norm(x: Tensor, epsilon: float) -> Tensor:
    # Always the last three dimensions; earlier ones are batch dimensions.
    squares = torch.sum(torch.square(x), dim=(-3, -2, -1), keepdim=True)
    return x / torch.sqrt(squares + epsilon)


@operator("local_response_norm")
def _local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    return F.local_response_norm(x, size, alpha, beta, k)
