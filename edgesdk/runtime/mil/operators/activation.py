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
    x=Tensor,
)
operators_from({"elu": F.elu, "leaky_relu": F.leaky_relu}, x=Tensor, alpha=float)
operators_from({"prelu": F.prelu}, x=Tensor, alpha=Tensor)
operators_from({"softmax": torch.softmax}, x=Tensor, axis=int)
operators_from(
    {
        "linear_activation": lambda x, alpha, beta: x * alpha + beta,
        "scaled_tanh": lambda x, alpha, beta: alpha * torch.tanh(x * beta),
        "sigmoid_hard": lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0.0, 1.0),
    },
    x=Tensor,
    alpha=Tensor,
    beta=Tensor,
)

_SIGMOID_GELU_SLOPE = 1.702


@operator("clamped_relu")
def _clamped_relu(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return torch.minimum(torch.where(x >= 0, x, alpha * x), beta)


@operator("gelu")
def _gelu(x: Tensor, mode: str) -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(_SIGMOID_GELU_SLOPE * x)
    return F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


@operator("softplus_parametric")
def _softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    a_channel = (-1, *([1] * (x.dim() - 2)))
    return alpha.reshape(a_channel) * F.softplus(x * beta.reshape(a_channel))


@operator("thresholded_relu")
def _thresholded_relu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros((), dtype=x.dtype))
