"""What quantization makes of each operator of a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgesdk.quant.layer_names import operator_name

if TYPE_CHECKING:
    from torch.fx import Node

__all__ = [
    "CARRIERS",
    "CLAMPS",
    "CONVOLUTIONS",
    "INTEGER",
    "NORMS",
    "TRANSPOSED",
    "WEIGHTED",
    "argument",
    "arguments",
    "clamps_at_zero",
]

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})

#: Operators whose constant weights become integers.
WEIGHTED = CONVOLUTIONS | TRANSPOSED | {"linear"}

#: Normalisation that goes into the weights in front of it.
NORMS = frozenset({"batch_norm"})

#: Activations that kernels apply before they round.
CLAMPS = frozenset({"clamp", "clamp_min", "hardtanh", "relu", "relu6"})

#: Operators without weights that runtimes compute on 8-bit integers. Any other is computed in
#: floats; a quantized operator behind it rounds what it takes.
INTEGER = frozenset(
    {
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "add",
        "avg_pool1d",
        "avg_pool2d",
        "bmm",
        "cat",
        "concat",
        "hardsigmoid",
        "hardswish",
        "leaky_relu",
        "matmul",
        "mean",
        "mul",
        "sigmoid",
        "softmax",
        "sub",
        "tanh",
        "upsample_bilinear2d",
    }
)

#: Operators whose results lie on the grid of what they take: they move values, or choose some.
CARRIERS = CLAMPS | {
    "alias",
    "chunk",
    "clone",
    "constant_pad_nd",
    "contiguous",
    "detach",
    "dropout",
    "expand",
    "flatten",
    "getitem",
    "max_pool1d",
    "max_pool2d",
    "movedim",
    "narrow",
    "pad",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "repeat",
    "reshape",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "stack",
    "t",
    "transpose",
    "unbind",
    "unflatten",
    "unsqueeze",
    "upsample_nearest2d",
    "view",
}


def arguments(node: Node) -> dict[str, Any]:
    """Every argument of an operator by its name in the schema, defaults included."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(node.kwargs)
    found = {item.name: item.default_value for item in schema.arguments if item.has_default_value()}
    found |= {item.name: value for item, value in zip(schema.arguments, node.args, strict=False)}
    return {**found, **node.kwargs}


def argument(node: Node, name: str) -> Any:
    """One argument of an operator; None where it has no such."""
    return arguments(node).get(name)


def clamps_at_zero(node: Node) -> bool:
    """Whether an operator is a rectifier: nothing below zero is left, zero stays."""
    name = operator_name(node)
    if name in ("relu", "relu6"):
        return True
    given = arguments(node)
    low = {"hardtanh": "min_val", "clamp": "min", "clamp_min": "min"}.get(name)
    high = given.get("max_val" if name == "hardtanh" else "max")
    return low is not None and given.get(low) == 0 and (high is None or high > 0)
