"""Pooling with partial windows or a divisor of its own, as pooling of a padded picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES"]


def _pair(value: int | Sequence[int] | None, default: Sequence[int] = (0, 0)) -> list[int]:
    if value is None or (not isinstance(value, int) and len(value) == 0):
        return list(default)
    listed = [value] if isinstance(value, int) else list(value)
    return listed * 2 if len(listed) == 1 else listed


def _missing(size: int, kernel: int, stride: int, pad: int, step: int, ceil: bool) -> int:
    """Pixels that a partial last window lacks behind the padded picture."""
    reach = step * (kernel - 1) + 1
    room = size + 2 * pad - reach
    count = room // stride + 1
    if ceil and room % stride and count * stride < size + pad:
        count += 1
    return max(0, (count - 1) * stride + reach - size - 2 * pad)


def _margins(x: Tensor, kernel: Any, stride: Any, padding: Any, ceil: bool, step: Any) -> list[int]:
    """Pixels before and after, columns first, that leave whole windows only."""
    kernels, pads, steps = _pair(kernel), _pair(padding), _pair(step, (1, 1))
    strides = _pair(stride, kernels)
    margins: list[int] = []
    for axis in (1, 0):
        size = int(x.shape[-2 + axis])
        behind = _missing(size, kernels[axis], strides[axis], pads[axis], steps[axis], ceil)
        margins += [pads[axis], pads[axis] + behind]
    return margins


def _is_fixed(x: Tensor) -> bool:
    return all(isinstance(side, int) for side in x.shape[-2:])


def _average(
    x: Tensor,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    constants: tuple[Tensor, ...],
) -> Tensor:
    del count_include_pad, divisor_override
    margins = _margins(x, kernel, stride, padding, ceil_mode, 1)
    padded = functional.pad(x, margins) if any(margins) else x
    strides = _pair(stride, _pair(kernel))
    return functional.avg_pool2d(padded, _pair(kernel), strides) * constants[0]


def _weights(x: Tensor, kernel: Any, stride: Any = None, *rest: Any, **options: Any) -> Any:
    """Factor a window, ``[1, 1, h, w]``: of the whole window's mean, to the one that is asked."""
    ones = torch.ones(1, 1, *(int(side) for side in x.shape[-2:]))
    names = ("padding", "ceil_mode", "count_include_pad", "divisor_override")
    given: dict[str, Any] = dict(zip(names, (0, False, True, None), strict=True))
    given |= dict(zip(names, rest, strict=False)) | options
    wanted = torch.ops.aten.avg_pool2d.default(ones, _pair(kernel), _pair(stride), **_listed(given))
    margins = _margins(x, kernel, stride, given["padding"], given["ceil_mode"], 1)
    whole = functional.avg_pool2d(
        functional.pad(ones, margins), _pair(kernel), _pair(stride, _pair(kernel))
    )
    return (wanted / whole,)


def _listed(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "padding": _pair(given["padding"])}


def _is_partial_average(
    x: Tensor,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> bool:
    if not _is_fixed(x) or x.dim() != 4:
        return False
    margins = _margins(x, kernel, stride, padding, ceil_mode, 1)
    padded = any(_pair(padding))
    partial = margins[1] != margins[0] or margins[3] != margins[2]
    return bool(partial or divisor_override or (padded and not count_include_pad))


def _most(
    x: Tensor,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    margins = _margins(x, kernel, stride, padding, ceil_mode, dilation)
    lowest = torch.finfo(x.dtype).min
    padded = functional.pad(x, margins, value=lowest) if any(margins) else x
    return functional.max_pool2d(
        padded, _pair(kernel), _pair(stride, _pair(kernel)), 0, _pair(dilation, (1, 1))
    )


def _is_partial_maximum(
    x: Tensor,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> bool:
    if not ceil_mode or not _is_fixed(x) or not x.is_floating_point():
        return False
    margins = _margins(x, kernel, stride, padding, ceil_mode, dilation)
    strided = any(s > k for s, k in zip(_pair(stride, _pair(kernel)), _pair(kernel), strict=True))
    return margins[1] != margins[0] or margins[3] != margins[2] or strided


def _adaptive_maximum(x: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    for axis, count in ((2, int(size[0])), (3, int(size[1]))):
        length = int(x.shape[axis])
        parts = []
        for index in range(count):
            begin, end = index * length // count, -(-(index + 1) * length // count)
            parts.append(x.narrow(axis, begin, end - begin).amax(axis, keepdim=True))
        x = torch.cat(parts, dim=axis)
    return x, x


def _does_not_divide(x: Tensor, size: Sequence[int]) -> bool:
    if not _is_fixed(x) or x.dim() != 4:
        return False
    return any(int(x.shape[-2 + i]) % int(size[i]) for i in range(2))


def _has_divisor(x: Tensor, *arguments: Any, **options: Any) -> bool:
    divisor = arguments[5] if len(arguments) > 5 else options.get("divisor_override")
    return bool(divisor) and _is_partial_average(x, *arguments, **options)


def _windows(x: Tensor, axis: int, kernel: int, stride: int, step: int) -> Tensor:
    """The maximum over dilated windows along one axis, from shifted strided slices."""
    count = (int(x.shape[axis]) - step * (kernel - 1) - 1) // stride + 1
    span = (count - 1) * stride + 1
    parts = [x.narrow(axis, tap * step, span) for tap in range(kernel)]
    if stride > 1:
        every: list[slice] = [slice(None)] * axis + [slice(None, None, stride)]
        parts = [part[tuple(every)] for part in parts]
    most = parts[0]
    for part in parts[1:]:
        most = torch.maximum(most, part)
    return most


def _most_apart(
    x: Tensor,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    margins = _margins(x, kernel, stride, padding, ceil_mode, dilation)
    if any(margins):
        x = functional.pad(x, margins, value=torch.finfo(x.dtype).min)
    kernels, steps = _pair(kernel), _pair(dilation, (1, 1))
    strides = _pair(stride, kernels)
    for axis in range(2):
        x = _windows(x, x.dim() - 2 + axis, kernels[axis], strides[axis], steps[axis])
    return x


def _is_dilated(x: Tensor, kernel: Any, *rest: Any, **options: Any) -> bool:
    dilation = rest[2] if len(rest) > 2 else options.get("dilation", 1)
    dilated = any(step > 1 for step in _pair(dilation, (1, 1)))
    return dilated and _is_fixed(x) and x.is_floating_point()


def _three(value: Any, default: Sequence[int]) -> list[int]:
    if value is None or (not isinstance(value, int) and len(value) == 0):
        return list(default)
    listed = [value] if isinstance(value, int) else list(value)
    return listed * 3 if len(listed) == 1 else listed


def _volume(pool: Any, x: Tensor, kernel: Any, stride: Any, padding: Any) -> Tensor:
    """Pool pictures first, then the first axis as a picture of that axis by all others."""
    kernels, pads = _three(kernel, ()), _three(padding, (0, 0, 0))
    strides = _three(stride, kernels)
    n, c, d, h, w = x.shape
    flat = pool(x.reshape(n, c * d, h, w), kernels[1:], strides[1:], pads[1:])
    high, wide = flat.shape[2:]
    columns = flat.reshape(n, c, d, high * wide)
    deep = pool(columns, [kernels[0], 1], [strides[0], 1], [pads[0], 0])
    return deep.reshape(n, c, deep.shape[2], high, wide)


def _mean_of_volume(
    x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, *_: Any
) -> Tensor:
    return _volume(functional.avg_pool2d, x, kernel, stride, padding)


def _most_of_volume(
    x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, *_: Any
) -> Tensor:
    return _volume(functional.max_pool2d, x, kernel, stride, padding)


def _is_plain_mean(
    x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, *rest: Any
) -> bool:
    defaults: tuple[Any, ...] = (False, True, None)
    ceil, counted, divisor = (*rest, *defaults[len(rest) :])
    inclusive = counted or not any(_three(padding, (0, 0, 0)))
    return x.dim() == 5 and not ceil and inclusive and divisor is None


def _is_plain_maximum(
    x: Tensor,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil: bool = False,
) -> bool:
    return x.dim() == 5 and not ceil and all(step == 1 for step in _three(dilation, (1, 1, 1)))


RULES = (
    Rule(
        frozenset({"aten.avg_pool2d.default"}),
        frozenset({"litert"}),
        "LiteRT has no mean over partial windows or with a divisor of its own",
        _average,
        _is_partial_average,
        _weights,
    ),
    Rule(
        frozenset({"aten.avg_pool2d.default"}),
        frozenset({"coreml", "onnx"}),
        "the target has no mean with a divisor of its own",
        _average,
        _has_divisor,
        _weights,
    ),
    Rule(
        frozenset({"aten.max_pool2d.default"}),
        frozenset({"coreml", "litert"}),
        "the target has no maximum over dilated windows",
        _most_apart,
        _is_dilated,
    ),
    Rule(
        frozenset({"aten.max_pool2d.default"}),
        frozenset({"coreml", "onnx"}),
        "the target counts partial windows otherwise",
        _most,
        _is_partial_maximum,
    ),
    Rule(
        frozenset({"aten.adaptive_max_pool2d.default"}),
        frozenset({"executorch", "litert", "onnx"}),
        "the target has no adaptive maximum",
        _adaptive_maximum,
        _does_not_divide,
    ),
    Rule(
        frozenset({"aten.avg_pool3d.default"}),
        frozenset({"executorch", "litert"}),
        "the target pools pictures only",
        _mean_of_volume,
        _is_plain_mean,
    ),
    Rule(
        frozenset({"aten.max_pool3d.default"}),
        frozenset({"executorch", "litert"}),
        "the target pools pictures only",
        _most_of_volume,
        _is_plain_maximum,
    ),
)
