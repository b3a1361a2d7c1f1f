"""Resizes that targets compute otherwise or lack, as products with matrices of weights.

Every mode of ``interpolate`` is separable: one matrix an axis. The matrices come from the operator
itself, applied to the unit vectors of the axis, so that they hold the very weights that it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]

_Matrices = tuple[Tensor, ...]
_OTHER = 2


def _operator(name: str) -> Callable[..., Tensor]:
    return getattr(torch.ops.aten, name).vec


def _one_axis(
    name: str, axis: int, size: int, target: int, options: Sequence[Any], scale: float | None
) -> Tensor:
    """The weights ``[target, size]`` of one axis: 0 for rows, 1 for columns."""
    # The other axis keeps two pixels: with one, torch's antialiasing mistakes the layout.
    shape, spread = ((size, 1, size, 1), 3) if axis == 0 else ((size, 1, 1, size), 2)
    units = torch.eye(size, dtype=torch.float64).view(shape)
    units = units.repeat_interleave(_OTHER, dim=spread)
    sizes = [target, _OTHER] if axis == 0 else [_OTHER, target]
    scales = None if scale is None else [scale, 1.0] if axis == 0 else [1.0, scale]
    answers = _operator(name)(units, None if scales else sizes, *options, scales)
    picked = answers[:, 0, :, 0] if axis == 0 else answers[:, 0, 0, :]
    return picked.T.float()


def _matrices(name: str) -> Callable[..., _Matrices]:
    def make(x: Tensor, size: Any, *rest: Any) -> _Matrices:
        *options, scales = rest
        found = []
        for axis in range(2):
            before = int(x.shape[2 + axis])
            scale = None if scales is None else float(scales[axis])
            after = int(size[axis]) if scale is None else int(before * scale)
            found.append(_one_axis(name, axis, before, after, options, scale))
        return tuple(found)

    return make


def _multiplied(x: Tensor, *_: Any, constants: _Matrices) -> Tensor:
    rows, columns = constants
    return torch.matmul(torch.matmul(rows, x), columns.transpose(0, 1))


def _is_fixed(x: Tensor) -> bool:
    return x.is_floating_point() and all(isinstance(side, int) for side in x.shape[2:])


def _has_fixed_size(x: Tensor, *_: Any) -> bool:
    return _is_fixed(x)


def _has_broken_scale(x: Tensor, size: Any, *rest: Any) -> bool:
    """Return True if a scale does not give whole sizes, so that the sizes do not imply it."""
    scales = rest[-1]
    if scales is None or not _is_fixed(x):
        return False
    return any(int(x.shape[2 + i]) * scales[i] % 1 for i in range(2))


def _is_no_multiple(x: Tensor, size: Any, *rest: Any) -> bool:
    """Return True if the picture does not grow by whole factors."""
    scales = rest[-1]
    if not _is_fixed(x):
        return False
    if scales is not None:
        return any(scale % 1 for scale in scales)
    return any(int(size[i]) % int(x.shape[2 + i]) for i in range(2))


def _rule(name: str, targets: str, reason: str, applies: Callable[..., bool]) -> Rule:
    return Rule(
        frozenset({f"aten.{name}.vec"}),
        frozenset(targets.split()),
        reason,
        _multiplied,
        applies,
        _matrices(name),
    )


_SCALED = "the target resizes by the sizes alone, and differs where a scale does not divide them"

RULES = (
    _rule("upsample_bilinear2d", "executorch litert coreml", _SCALED, _has_broken_scale),
    _rule("upsample_nearest2d", "coreml onnx", _SCALED, _has_broken_scale),
    _rule(
        "upsample_nearest2d",
        "litert",
        "LiteRT takes other pixels where the picture does not grow by whole factors",
        _is_no_multiple,
    ),
    _rule(
        "_upsample_nearest_exact2d",
        "coreml executorch litert",
        "the target has no exact nearest resize",
        _has_fixed_size,
    ),
    _rule(
        "upsample_bicubic2d",
        "coreml executorch litert",
        "the target has no bicubic resize",
        _has_fixed_size,
    ),
    _rule(
        "_upsample_bilinear2d_aa",
        "coreml litert",
        "the target has no resize with antialiasing",
        _has_fixed_size,
    ),
    _rule(
        "_upsample_bicubic2d_aa",
        "coreml executorch litert onnx",
        "the target has no resize with antialiasing",
        _has_fixed_size,
    ),
)
