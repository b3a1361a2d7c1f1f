"""Matrix products and attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator

__all__: list[str] = []


def _alike(*tensors: Tensor) -> list[Tensor]:
    """Convert tensors to one type: MIL multiplies integers with floats, torch does not."""
    kind = torch.float32 if any(t.is_floating_point() for t in tensors) else torch.int32
    return [tensor.to(kind) for tensor in tensors]


@operator("linear")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    left, right = _alike(x, weight)
    if left.is_floating_point():
        return F.linear(left, right, None if bias is None else bias.to(left.dtype))
    product = torch.matmul(left, right.mT)
    return product if bias is None else product + bias


@operator("matmul")
def _matmul(x: Tensor, y: Tensor, transpose_x: bool, transpose_y: bool) -> Tensor:
    left, right = _alike(x, y)
    # Transposing has no effect on a vector.
    if transpose_x and left.dim() > 1:
        left = left.mT
    if transpose_y and right.dim() > 1:
        right = right.mT
    return torch.matmul(left, right)


@operator("einsum")
def _einsum(values: tuple[Tensor, ...], equation: str) -> Tensor:
    return torch.einsum(equation, *values)


@operator("scaled_dot_product_attention")
def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)
