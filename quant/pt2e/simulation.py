"""Simulation of quantized programs without integer kernels.

Integers are decoded to double precision, in which sums of their products are exact, and every
operator is torch's own. Parity compares the runtime with this simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchao.quantization  # noqa: F401 - registers its operators
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from edgesdk.quant.plan import Arrays, QuantPlan
from edgesdk.quant.pt2e.folding import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS, constant_of

__all__ = ["simulate"]

_aten = torch.ops.aten
_ops = torch.ops.quantized_decomposed
_ao = torch.ops.torchao
_CLAMPS = (_aten.hardtanh.default, _aten.relu.default)
_LAYERS = (_aten.linear.default, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS)
_WIDE = {torch.float32: torch.float64, torch.float16: torch.float64}


def simulate(plan: QuantPlan, module: GraphModule) -> tuple[Arrays, ...]:
    """Simulate a graph with explicit quantization on the plan's samples.

    Args:
        plan: Quantization plan.
        module: Graph with the program's inputs and outputs.

    Returns:
        Outputs by name for each sample, floats in single precision.
    """
    exact = _Exact(module)
    answers = []
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            for sample in plan.samples:
                given = [torch.from_numpy(np.array(sample[name])) for name in plan.inputs]
                results = exact.run(*given)
                answers.append(
                    {
                        name: _single(result)
                        for name, result in zip(plan.outputs, _flat(results), strict=True)
                    }
                )
    finally:
        torch.set_default_dtype(before)
    return tuple(answers)


def _flat(results: Any) -> list[Tensor]:
    from torch.utils import _pytree as pytree

    return [item for item in pytree.tree_leaves(results) if isinstance(item, Tensor)]


def _single(value: Tensor) -> np.ndarray:
    result: np.ndarray = (value.float() if value.is_floating_point() else value).numpy().copy()
    return result


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in _WIDE:
        return value.double()
    if isinstance(value, torch.dtype):
        return _WIDE.get(value, value)
    if isinstance(value, (list, tuple)):
        return type(value)(_widened(item) for item in value)
    return value


class _Exact(Interpreter):
    """Runs a graph in double precision, including quantization."""

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        return _widened(super().placeholder(target, args, kwargs))

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        return _widened(super().get_attr(target, args, kwargs))

    def run_node(self, n: Node) -> Any:
        if n.op == "call_function" and n.target in _RULES:
            args, _ = self.fetch_args_kwargs_from_env(n)
            if n.target is _ops.choose_qparams.tensor:
                return _measured(args[0], _shared_axes(self.module, n, args[0].dim()))
            if n.target is _ops.quantize_per_tensor.default:
                step = _integer_step(self.module, n, args[0].dim())
                if step is not None:
                    return _requantized(step, *args)
            return _RULES[n.target](*args)
        return super().run_node(n)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        wide = {key: _widened(value) for key, value in kwargs.items()}
        return super().call_function(target, tuple(_widened(item) for item in args), wide)


def _shared_axes(module: GraphModule, node: Node, rank: int) -> tuple[int, ...]:
    """Return the dimensions that share a scale in the input of a dynamic operator.

    Linear layers measure each row, convolutions each image; XNNPACK treats 1x1 convolutions as
    linear layers over channels.
    """
    pending, visited = [node], set()
    while pending:
        at = pending.pop()
        if at in visited:
            continue
        visited.add(at)
        if at.target is _aten.linear.default:
            return (rank - 1,)
        if at.target is _aten.conv2d.default and _is_pointwise(module, at):
            return (1,)
        if at is node or str(at.target).startswith(("quantized_decomposed", "<built-in function")):
            pending.extend(at.users)
    return tuple(range(1, rank))


def _is_pointwise(module: GraphModule, convolution: Node) -> bool:
    weight: Any = convolution.args[1]
    value = constant_of(module, weight.args[0])
    strides: Any = convolution.args[3] if len(convolution.args) > 3 else [1, 1]
    return value is not None and tuple(value.shape[2:]) == (1, 1) and set(strides) == {1}


def _measured(value: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    low = value.amin(axes, keepdim=True).clamp(max=0)
    high = value.amax(axes, keepdim=True).clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return scale, (-128 - low / scale).round().clamp(-128, 127)


def _quantized(
    value: Tensor, scale: Any, zero_point: Any, low: int, high: int, dtype: torch.dtype
) -> Tensor:
    # Runtimes multiply by the inverse in single precision; doing the same rounds values in the
    # middle between two integers to the same side.
    inverse = 1.0 / torch.as_tensor(scale, dtype=torch.float32)
    steps = (value.float() * inverse).round() + torch.as_tensor(zero_point).float()
    return steps.clamp(low, high).to(dtype)


def _integer_step(module: GraphModule, node: Node, rank: int) -> Tensor | None:
    """Return the step of the accumulator of the layer in front, per output channel."""
    layer: Any = node.args[0]
    if layer.target in _CLAMPS:
        layer = layer.args[0]
    if layer.target not in _LAYERS:
        return None
    taken, weight = layer.args[0], layer.args[1]
    if (
        taken.target is not _ops.dequantize_per_tensor.default
        or weight.target is not _ops.dequantize_per_channel.default
    ):
        return None
    scales = constant_of(module, weight.args[1])
    shape = [1] * rank
    shape[rank - 1 if layer.target is _aten.linear.default else 1] = -1
    return None if scales is None else scales.float().reshape(shape) * np.float32(taken.args[1])


def _requantized(
    step: Tensor,
    value: Tensor,
    scale: Any,
    zero_point: Any,
    low: int,
    high: int,
    dtype: torch.dtype,
) -> Tensor:
    """Requantize sums of integers by one single-precision factor, as runtimes do."""
    sums = (value / step.double()).round().float()
    steps = (sums * (step / np.float32(scale))).round() + float(zero_point)
    return steps.clamp(low, high).to(dtype)


def _dequantized(value: Tensor, scale: Any, zero_point: Any, *_: Any) -> Tensor:
    return (value.double() - torch.as_tensor(zero_point).double()) * torch.as_tensor(
        scale, dtype=torch.float32
    ).double()


def _dequantized_channels(
    value: Tensor, scales: Tensor, zero_points: Tensor, axis: int, *_: Any
) -> Tensor:
    shape = [1] * value.dim()
    shape[axis] = -1
    return _dequantized(value, scales.reshape(shape), zero_points.reshape(shape))


def _blocked(value: Tensor, block: list[int]) -> Tensor:
    """Split each dimension into blocks and the elements of a block."""
    sizes = []
    for size, part in zip(value.shape, block, strict=True):
        sizes += [size // part, part]
    return value.reshape(sizes)


def _spread(scale: Tensor, value: Tensor, block: list[int]) -> Tensor:
    """Reshape scales to broadcast over the result of :func:`_blocked`."""
    sizes = []
    for size, part in zip(value.shape, block, strict=True):
        sizes += [size // part, 1]
    return scale.reshape(sizes)


def _measured_blocks(value: Tensor, _: str, block: list[int], *__: Any) -> tuple[Tensor, Tensor]:
    parts = _blocked(value, block)
    scale, zero_point = _measured(parts, tuple(range(1, parts.dim(), 2)))
    return scale.squeeze(tuple(range(1, parts.dim(), 2))), zero_point


def _quantized_blocks(
    value: Tensor,
    block: list[int],
    scale: Tensor,
    zero_point: Tensor,
    dtype: torch.dtype,
    low: int,
    high: int,
    *_: Any,
) -> Tensor:
    zero = _spread(zero_point, value, block)
    steps = _quantized(_blocked(value, block), _spread(scale, value, block), zero, low, high, dtype)
    return steps.reshape(value.shape)


def _dequantized_blocks(
    value: Tensor, block: list[int], scale: Tensor, zero_point: Tensor, *_: Any
) -> Tensor:
    zero = _spread(zero_point, value, block)
    wide = _dequantized(_blocked(value, block), _spread(scale, value, block), zero)
    return wide.reshape(value.shape)


_RULES: dict[Any, Callable[..., Any]] = {
    _ao.choose_qparams_affine.default: _measured_blocks,
    _ao.quantize_affine.default: _quantized_blocks,
    _ao.dequantize_affine.default: _dequantized_blocks,
    _ops.choose_qparams.tensor: _measured,
    _ops.quantize_per_tensor.default: _quantized,
    _ops.quantize_per_tensor.tensor: _quantized,
    _ops.dequantize_per_tensor.default: _dequantized,
    _ops.dequantize_per_tensor.tensor: _dequantized,
    _ops.dequantize_per_channel.default: _dequantized_channels,
}
