"""Descriptions of layers: ``Conv2d 3x3 /2``, ``depthwise Conv2d 5x5``, ``Linear``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["kind_of", "node_kind"]

# Classes that do not describe a layer: containers, and torch.export's holders of weights.
_NAMELESS = ("Module", "InterpreterModule", "GraphModule", "")


def kind_of(module: nn.Module | None, call: Any = None) -> str:
    """Describe a layer.

    Args:
        module: The layer; None if only its operators are known.
        call: Its operations (:class:`edgesdk.profiling.cost_trace.Call`); None if it did not run.
    """
    if call is not None and call.kind:
        return str(call.kind)
    if isinstance(module, nn.modules.conv._ConvNd):
        name = type(module).__name__.removeprefix("Parametrized")
        return _convolution(
            name,
            module.kernel_size,
            module.stride,
            module.dilation,
            module.groups,
            module.in_channels,
        )
    name = "" if module is None else type(module).__name__.removeprefix("Parametrized")
    operators = ", ".join(sorted(call.flops)) if call is not None else ""
    if module is not None and any(True for _ in module.parameters(recurse=False)):
        return name
    return f"{name}: {operators}" if name not in _NAMELESS and operators else operators or name


def node_kind(node: torch.fx.Node, name: str) -> str:
    """Describe the operator of an exported program's node, by the name of its module's class."""
    operator = str(node.target).removeprefix("aten.").partition(".")[0]
    if not operator.startswith("conv"):
        return name if name not in _NAMELESS else operator
    given = dict(zip(_CONVOLUTION_ARGUMENTS, node.args, strict=False)) | node.kwargs
    weight = given["weight"].meta["val"]
    places = weight.ndim - 2
    transposed = "transpose" in operator
    groups = int(given.get("groups", 1))
    stride, dilation = given.get("stride", 1), given.get("dilation", 1)
    if transposed:
        # Transposed convolutions have output padding and groups before the dilation.
        positional = dict(enumerate(node.args))
        groups = int(positional.get(6, node.kwargs.get("groups", 1)))
        dilation = positional.get(7, node.kwargs.get("dilation", 1))
    return _convolution(
        f"Conv{'Transpose' if transposed else ''}{places}d",
        tuple(int(size) for size in weight.shape[2:]),
        _each(stride, places),
        _each(dilation, places),
        groups,
        int(weight.shape[0] if transposed else weight.shape[1] * groups),
    )


_CONVOLUTION_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def _each(value: Any, places: int) -> tuple[int, ...]:
    values = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(int(v) for v in values) * (places if len(values) == 1 else 1)


def _convolution(
    name: str,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    channels: int,
) -> str:
    words = [name, "x".join(map(str, kernel))]
    if set(stride) != {1}:
        words.append("/" + _sizes(stride))
    if set(dilation) != {1}:
        words.append(f"dilation {_sizes(dilation)}")
    if groups == channels and groups > 1:
        words.insert(0, "depthwise")
    elif groups > 1:
        words.append(f"{groups} groups")
    return " ".join(words)


def _sizes(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))
