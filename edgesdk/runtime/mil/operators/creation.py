"""Create tensors from sizes and values, and find indices in tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator, operators_from

__all__: list[str] = []

operators_from({"non_zero": torch.nonzero}, x=Tensor)


@operator("fill")
def _fill(shape: tuple[int, ...], value: Tensor) -> Tensor:
    return value.reshape(()).expand(shape).clone()


@operator("fill_like")
def _fill_like(ref_tensor: Tensor, value: Tensor) -> Tensor:
    return value.reshape(()).expand(ref_tensor.shape).clone()


@operator("range_1d")
def _range_1d(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


@operator("one_hot")
def _one_hot(
    indices: Tensor, one_hot_vector_size: int, axis: int, on_value: Tensor, off_value: Tensor
) -> Tensor:
    at = axis % (indices.dim() + 1)
    shape = [1] * (indices.dim() + 1)
    shape[at] = -1
    hot = indices.unsqueeze(at) == torch.arange(one_hot_vector_size).reshape(shape)
    return torch.where(hot, on_value, off_value)


@operator("classify")
def _classify(probabilities: Tensor, classes: tuple[object, ...]) -> tuple[object, Tensor]:
    return classes[int(torch.argmax(probabilities))], probabilities.reshape(-1)
