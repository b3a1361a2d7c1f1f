"""Classes of a program's operators in quantization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgesdk.errors import QuantizationError
from edgesdk.quant.layer_names import operator_name

if TYPE_CHECKING:
    from torch.export import ExportedProgram
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
    "refuse_quantized",
]

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})

#: Operators whose constant weights become integers.
WEIGHTED = CONVOLUTIONS | TRANSPOSED | {"linear"}

#: Normalization that is folded into the weights in front of it.
NORMS = frozenset({"batch_norm"})

#: Activations that kernels apply before rounding.
CLAMPS = frozenset({"clamp", "clamp_min", "hardtanh", "relu", "relu6"})

#: Operators without weights that runtimes compute on 8-bit integers. Others are computed in floats;
#: a quantized operator behind them rounds its input.
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

#: Operators whose results stay on the grid of their input: they move or select values.
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
    """Return all arguments of an operator by name in the schema, including defaults."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(node.kwargs)
    found = {item.name: item.default_value for item in schema.arguments if item.has_default_value()}
    found |= {item.name: value for item, value in zip(schema.arguments, node.args, strict=False)}
    return {**found, **node.kwargs}


def argument(node: Node, name: str) -> Any:
    """Return one argument of an operator; None if it does not have it."""
    return arguments(node).get(name)


def clamps_at_zero(node: Node) -> bool:
    """Return True if an operator is a rectifier: it clamps at zero from below."""
    name = operator_name(node)
    if name in ("relu", "relu6"):
        return True
    given = arguments(node)
    low = {"hardtanh": "min_val", "clamp": "min", "clamp_min": "min"}.get(name)
    high = given.get("max_val" if name == "hardtanh" else "max")
    return low is not None and given.get(low) == 0 and (high is None or high > 0)


def refuse_quantized(program: ExportedProgram) -> None:
    """Check that a program is not quantized.

    Raises:
        QuantizationError: The program holds an operator of a quantized model.
    """
    for node in program.graph.nodes:
        name = str(node.target)
        if node.op == "call_function" and name.startswith(("quantized", "torchao.")):
            raise QuantizationError(
                f"the model is already quantized: it holds {name.removesuffix('.default')}",
                remedy="use the float model, or export this one without a recipe",
            )
