"""Pooling of volumes as two poolings of pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from edgesdk.converters.rewriting.arguments import per_axis
from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


def _pooled_by(pool: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def pooled(x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, *_: Any) -> Tensor:
        kernels, pads = per_axis(kernel, 3, 1), per_axis(padding, 3, 0)
        strides = per_axis(stride, 3, kernels)
        n, c, d, h, w = x.shape
        flat = pool(x.reshape(n, c * d, h, w), kernels[1:], strides[1:], pads[1:])
        high, wide = flat.shape[2:]
        # The first axis is a picture of that axis by all others.
        columns = flat.reshape(n, c, d, high * wide)
        deep = pool(columns, [kernels[0], 1], [strides[0], 1], [pads[0], 0])
        return deep.reshape(n, c, deep.shape[2], high, wide)

    return pooled


def _is_plain_mean(
    x: Tensor,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> bool:
    inclusive = count_include_pad or not any(per_axis(padding, 3, 0))
    return x.dim() == 5 and not ceil_mode and inclusive and divisor_override is None


def _is_plain_maximum(
    x: Tensor,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> bool:
    return x.dim() == 5 and not ceil_mode and set(per_axis(dilation, 3, 1)) == {1}


_REASON = "the target pools pictures only"

RULES = (
    Rule(
        frozenset({"aten.avg_pool3d.default"}),
        frozenset({"executorch", "litert"}),
        _REASON,
        _pooled_by(functional.avg_pool2d),
        _is_plain_mean,
    ),
    Rule(
        frozenset({"aten.max_pool3d.default"}),
        frozenset({"executorch", "litert"}),
        _REASON,
        _pooled_by(functional.max_pool2d),
        _is_plain_maximum,
    ),
)
