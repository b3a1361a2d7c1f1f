"""Normalizations that targets lack, by their formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


def _rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Zhang and Sennrich 2019, equation 4: no mean is taken off."""
    axes = list(range(-len(shape), 0))
    small = torch.finfo(x.dtype).eps if eps is None else eps
    answer = x * torch.rsqrt((x * x).mean(axes, keepdim=True) + small)
    return answer if weight is None else answer * weight


def _batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any) -> Tensor:
    """Normalize by the statistics of the batch itself, which keeps none running."""
    eps = rest[4]
    axes = [0, *range(2, x.dim())]
    mean = x.mean(axes, keepdim=True)
    apart = x - mean
    answer = apart * torch.rsqrt((apart * apart).mean(axes, keepdim=True) + eps)
    shape = [1, -1, *[1] * (x.dim() - 2)]
    if weight is not None:
        answer = answer * weight.view(shape)
    return answer if bias is None else answer + bias.view(shape)


def _uses_the_batch(
    x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any
) -> bool:
    return bool(rest[0])


def _instance_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any
) -> Tensor:
    """Normalize by running statistics, which is a batch norm of fixed statistics."""
    return torch.nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, rest[2])


def _uses_running_statistics(
    x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any
) -> bool:
    return not rest[0]


RULES = (
    Rule(
        frozenset({"aten.instance_norm.default"}),
        frozenset({"coreml"}),
        "Core ML normalizes an instance by its own statistics only",
        _instance_norm,
        _uses_running_statistics,
    ),
    Rule(
        frozenset({"aten.rms_norm.default"}),
        frozenset({"coreml"}),
        "the target has no RMS norm",
        _rms_norm,
    ),
    Rule(
        frozenset({"aten.batch_norm.default"}),
        frozenset({"onnx"}),
        "ONNX Runtime normalizes a batch by running statistics only",
        _batch_norm,
        _uses_the_batch,
    ),
)
