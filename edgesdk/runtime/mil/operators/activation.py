"""Activation functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator, operators_from

__all__: list[str] = []

operators_from(
    {
        "relu": torch.relu,
        "relu6": F.relu6,
        "sigmoid": torch.sigmoid,
        "silu": F.silu,
        "softplus": F.softplus,
        "softsign": F.softsign,
    },
    ["x"],
)

_SIGMOID_GELU_SLOPE = 1.702


@operator("clamped_relu")
def _clamped_relu(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return torch.minimum(torch.where(x >= 0, x, alpha * x), beta)


@operator("elu")
def _elu(x: Tensor, alpha: float) -> Tensor:
    return F.elu(x, alpha)


@operator("gelu")
def _gelu(x: Tensor, mode: str) -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(_SIGMOID_GELU_SLOPE * x)
    return F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


@operator("leaky_relu")
def _leaky_relu(x: Tensor, alpha: float) -> Tensor:
    return F.leaky_relu(x, alpha)


@operator("linear_activation")
def _linear_activation(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return x * alpha + beta


@operator("prelu")
def _prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return F.prelu(x, alpha)


@operator("scaled_tanh")
def _scaled_tanh(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha * torch.tanh(x * beta)


@operator("sigmoid_hard")
def _sigmoid_hard(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


@operator("softmax")
def _softmax(x: Tensor, axis: int) -> Tensor:
    return torch.softmax(x, dim=axis)


@operator("softplus_parametric")
def _softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    a_channel = (-1, *([1] * (x.dim() - 2)))
    return alpha.reshape(a_channel) * F.softplus(x * beta.reshape(a_channel))


@operator("thresholded_relu")
def _thresholded_relu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros((), dtype=x.dtype))
