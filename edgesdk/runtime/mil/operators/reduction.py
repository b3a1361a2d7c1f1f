"""Reductions over any set of axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import as_float, operator, operators_from

__all__: list[str] = []

_Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = torch.prod(x, dim=axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, _Reduction] = {
    "reduce_l1_norm": lambda x, axes, keep: torch.sum(torch.abs(x), axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: torch.sqrt(
        torch.sum(as_float(torch.square(x)), axes, keep)
    ),
    "reduce_log_sum": lambda x, axes, keep: torch.log(torch.sum(as_float(x), axes, keep)),
    "reduce_log_sum_exp": lambda x, axes, keep: torch.logsumexp(as_float(x), axes, keep),
    "reduce_max": torch.amax,
    "reduce_mean": lambda x, axes, keep: torch.mean(as_float(x), axes, keep),
    "reduce_min": torch.amin,
    "reduce_prod": _product,
    "reduce_sum": lambda x, axes, keep: torch.sum(x, axes, keep),
    "reduce_sum_square": lambda x, axes, keep: torch.sum(torch.square(x), axes, keep),
}


def _register(op_type: str, reduction: _Reduction) -> None:
    @operator(op_type)
    def _reduce(x: Tensor, keep_dims: bool, axes: tuple[int, ...] | None = None) -> Tensor:
        chosen = tuple(range(x.dim())) if axes is None else axes
        # torch interprets no axes as all axes; MIL reduces nothing.
        return reduction(x, chosen, keep_dims) if chosen else x


for _op_type, _reduction in _REDUCTIONS.items():
    _register(_op_type, _reduction)

# The program declares the type of the indices, so the input ``output_dtype`` is not needed.
operators_from(
    {"reduce_argmax": torch.argmax, "reduce_argmin": torch.argmin},
    x=Tensor,
    axis=int,
    keep_dims=bool,
)
