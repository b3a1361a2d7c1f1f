"""Pooling of pictures with partial or dilated windows, or a divisor of its own.

A picture that is padded first has whole windows only, and those every target pools alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.converters.rewriting.arguments import per_axis
from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


@dataclass(frozen=True)
class _Windows:
    """The windows of a pooling: rows first, then columns."""

    kernel: list[int]
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    ceil: bool

    def margins(self, x: Tensor) -> list[int]:
        """Pixels before and after, columns first, that leave whole windows only."""
        margins: list[int] = []
        for axis in (1, 0):
            pad = self.padding[axis]
            margins += [pad, pad + self._missing(int(x.shape[-2 + axis]), axis)]
        return margins

    def _missing(self, size: int, axis: int) -> int:
        """Pixels that a partial last window lacks behind the padded picture."""
        stride, pad = self.stride[axis], self.padding[axis]
        span = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        room = size + 2 * pad - span
        count = room // stride + 1
        if self.ceil and room % stride and count * stride < size + pad:
            count += 1
        return max(0, (count - 1) * stride + span - size - 2 * pad)

    def has_partial(self, x: Tensor) -> bool:
        """Return True if a window reaches beyond the padded picture."""
        left, right, top, bottom = self.margins(x)
        return (left, top) != (right, bottom)


def _mean(
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[_Windows, bool, int | None]:
    """Read the arguments of ``aten.avg_pool2d``: windows, whether padding counts, divisor."""
    kernels = per_axis(kernel, 2, 1)
    windows = _Windows(
        kernels, per_axis(stride, 2, kernels), per_axis(padding, 2, 0), [1, 1], ceil_mode
    )
    return windows, count_include_pad, divisor_override


def _maximum(
    kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> _Windows:
    """Read the arguments of ``aten.max_pool2d``."""
    kernels = per_axis(kernel, 2, 1)
    return _Windows(
        kernels,
        per_axis(stride, 2, kernels),
        per_axis(padding, 2, 0),
        per_axis(dilation, 2, 1),
        ceil_mode,
    )


def _is_fixed(x: Tensor) -> bool:
    return x.is_floating_point() and all(isinstance(side, int) for side in x.shape[-2:])


def _padded(x: Tensor, windows: _Windows, value: float) -> Tensor:
    margins = windows.margins(x)
    return functional.pad(x, margins, value=value) if any(margins) else x


def _average(x: Tensor, *arguments: Any, constants: tuple[Tensor, ...], **options: Any) -> Tensor:
    windows, _, _ = _mean(*arguments, **options)
    whole = functional.avg_pool2d(_padded(x, windows, 0.0), windows.kernel, windows.stride)
    return whole * constants[0]


def _factors(x: Tensor, *arguments: Any, **options: Any) -> tuple[Tensor, ...]:
    """Factor of every window, ``[1, 1, h, w]``, from the mean of whole windows to the one asked."""
    windows, counted, divisor = _mean(*arguments, **options)
    ones = torch.ones(1, 1, *(int(side) for side in x.shape[-2:]))
    wanted = functional.avg_pool2d(
        ones, windows.kernel, windows.stride, windows.padding, windows.ceil, counted, divisor
    )
    whole = functional.avg_pool2d(_padded(ones, windows, 0.0), windows.kernel, windows.stride)
    return (wanted / whole,)


def _has_uneven_mean(x: Tensor, *arguments: Any, **options: Any) -> bool:
    windows, counted, divisor = _mean(*arguments, **options)
    if not _is_fixed(x) or x.dim() != 4:
        return False
    uncounted = any(windows.padding) and not counted
    return bool(windows.has_partial(x) or divisor or uncounted)


def _has_divisor(x: Tensor, *arguments: Any, **options: Any) -> bool:
    _, _, divisor = _mean(*arguments, **options)
    return bool(divisor) and _has_uneven_mean(x, *arguments, **options)


def _whole_maximum(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
    windows = _maximum(*arguments, **options)
    padded = _padded(x, windows, torch.finfo(x.dtype).min)
    return functional.max_pool2d(padded, windows.kernel, windows.stride, 0, windows.dilation)


def _has_partial_maximum(x: Tensor, *arguments: Any, **options: Any) -> bool:
    windows = _maximum(*arguments, **options)
    if not windows.ceil or not _is_fixed(x):
        return False
    # Where windows lie apart, targets count the last one otherwise even if it is whole.
    apart = any(s > k for s, k in zip(windows.stride, windows.kernel, strict=True))
    return apart or windows.has_partial(x)


def _sliced_maximum(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
    """Compute the maximum over dilated windows from shifted strided slices, axis by axis."""
    windows = _maximum(*arguments, **options)
    x = _padded(x, windows, torch.finfo(x.dtype).min)
    for place in range(2):
        axis = x.dim() - 2 + place
        step, stride = windows.dilation[place], windows.stride[place]
        taps = windows.kernel[place]
        count = (int(x.shape[axis]) - step * (taps - 1) - 1) // stride + 1
        every = [slice(None)] * axis + [slice(None, None, stride)]
        parts = [x.narrow(axis, tap * step, (count - 1) * stride + 1) for tap in range(taps)]
        if stride > 1:
            parts = [part[tuple(every)] for part in parts]
        x = parts[0]
        for part in parts[1:]:
            x = torch.maximum(x, part)
    return x


def _has_dilation(x: Tensor, *arguments: Any, **options: Any) -> bool:
    return _is_fixed(x) and any(step > 1 for step in _maximum(*arguments, **options).dilation)


def _adaptive(x: Tensor, size: Sequence[int], reduce: Callable[..., Tensor]) -> Tensor:
    """Reduce slices of the last axes, one axis after the other."""
    first = x.dim() - len(size)
    for axis, count in enumerate(map(int, size), first):
        length = int(x.shape[axis])
        parts = []
        for index in range(count):
            begin, end = index * length // count, -(-(index + 1) * length // count)
            parts.append(reduce(x.narrow(axis, begin, end - begin), [axis], keepdim=True))
        x = torch.cat(parts, dim=axis)
    return x


def _adaptive_maximum(x: Tensor, size: Sequence[int]) -> tuple[Tensor]:
    return (_adaptive(x, size, torch.amax),)


def _adaptive_mean(x: Tensor, size: Sequence[int]) -> Tensor:
    return _adaptive(x, size, torch.mean)


def _has_fixed_axes(x: Tensor, size: Sequence[int]) -> bool:
    return all(isinstance(side, int) for side in (*x.shape[-len(size) :], *size))


def _does_not_divide(x: Tensor, size: Sequence[int]) -> bool:
    if not _is_fixed(x) or x.dim() != 4:
        return False
    return any(int(x.shape[-2 + i]) % int(size[i]) for i in range(2))


_MEAN, _MAXIMUM = frozenset({"aten.avg_pool2d.default"}), frozenset({"aten.max_pool2d.default"})

RULES = (
    Rule(
        _MEAN,
        frozenset({"litert"}),
        "LiteRT has no mean over partial windows or with a divisor of its own",
        _average,
        _has_uneven_mean,
        _factors,
    ),
    Rule(
        _MEAN,
        frozenset({"coreml", "onnx"}),
        "the target has no mean with a divisor of its own",
        _average,
        _has_divisor,
        _factors,
    ),
    Rule(
        _MAXIMUM,
        frozenset({"coreml", "litert"}),
        "the target has no maximum over dilated windows",
        _sliced_maximum,
        _has_dilation,
    ),
    Rule(
        _MAXIMUM,
        frozenset({"coreml", "onnx"}),
        "the target counts partial windows otherwise",
        _whole_maximum,
        _has_partial_maximum,
    ),
    Rule(
        frozenset({"aten.adaptive_max_pool2d.default"}),
        frozenset({"executorch", "litert", "onnx"}),
        "the target has no adaptive maximum",
        _adaptive_maximum,
        _does_not_divide,
        first_only=True,
    ),
    Rule(
        frozenset({"aten.adaptive_max_pool1d.default"}),
        frozenset({"executorch", "litert", "onnx"}),
        "the target has no adaptive maximum",
        _adaptive_maximum,
        _has_fixed_axes,
        first_only=True,
    ),
    Rule(
        frozenset({"aten.adaptive_avg_pool3d.default"}),
        frozenset({"coreml", "executorch", "litert", "onnx"}),
        "the target has no adaptive mean of volumes",
        _adaptive_mean,
        _has_fixed_axes,
    ),
)
