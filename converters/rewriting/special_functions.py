"""Functions of single elements that targets lack, by their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


def _is_float(x: Tensor, *_: object) -> bool:
    return x.is_floating_point()


def _power_of_two(x: Tensor) -> Tensor:
    return torch.exp(x * math.log(2))


def _complementary_error(x: Tensor) -> Tensor:
    return 1 - torch.erf(x)


def _log_sigmoid(x: Tensor) -> Tensor:
    return torch.clamp(x, max=0.0) - torch.log(1 + torch.exp(-torch.abs(x)))


def _hypotenuse(x: Tensor, y: Tensor) -> Tensor:
    return torch.sqrt(x * x + y * y)


def _soft_shrink(x: Tensor, edge: float = 0.5) -> Tensor:
    return x - torch.clamp(x, -edge, edge)


def _hard_shrink(x: Tensor, edge: float = 0.5) -> Tensor:
    return x * (torch.abs(x) > edge).to(x.dtype)


def _truncated(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.floor(torch.abs(x))


def _interpolated(x: Tensor, end: Tensor, weight: Any) -> Tensor:
    return x + (end - x) * weight


def _is_infinite(x: Tensor) -> Tensor:
    return torch.abs(x) == math.inf


def _rule(name: str, targets: str, replacement: Callable[..., Tensor]) -> Rule:
    overload = name if "." in name else f"{name}.default"
    return Rule(
        frozenset({f"aten.{overload}"}),
        frozenset(targets.split()),
        f"the target has no {name.partition('.')[0]}",
        replacement,
        _is_float,
    )


RULES = (
    _rule("exp2", "executorch litert", _power_of_two),
    _rule("erfc", "coreml executorch litert", _complementary_error),
    _rule("special_erfc", "coreml executorch litert", _complementary_error),
    _rule("log_sigmoid", "coreml", _log_sigmoid),
    _rule("hypot", "coreml executorch litert onnx", _hypotenuse),
    _rule("softshrink", "coreml", _soft_shrink),
    _rule("hardshrink", "coreml", _hard_shrink),
    _rule("trunc", "coreml", _truncated),
    _rule("lerp.Scalar", "coreml", _interpolated),
    _rule("lerp.Tensor", "coreml", _interpolated),
    _rule("isinf", "coreml", _is_infinite),
)
