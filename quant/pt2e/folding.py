"""Normal form of a program for quantizers: functional, explicit padding, folded batch norms."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from edgesdk.quant.fake_quantization.operators import arguments, refuse_quantized

__all__ = [
    "CONVOLUTIONS",
    "TRANSPOSED_CONVOLUTIONS",
    "constant_of",
    "folded_module",
    "store_constant",
]

_aten = torch.ops.aten

#: Convolutions with explicit padding.
CONVOLUTIONS = (_aten.conv1d.default, _aten.conv2d.default, _aten.conv3d.default)
TRANSPOSED_CONVOLUTIONS = (
    _aten.conv_transpose1d.default,
    _aten.conv_transpose2d.input,
    _aten.conv_transpose3d.input,
)
_NAMED_PADDING = {
    _aten.conv1d.padding: _aten.conv1d.default,
    _aten.conv2d.padding: _aten.conv2d.default,
    _aten.conv3d.padding: _aten.conv3d.default,
}
_NORMS = (
    _aten._native_batch_norm_legit_no_training.default,
    _aten.batch_norm.default,
)


def folded_module(program: ExportedProgram) -> GraphModule:
    """Convert a float program to one graph module of functional operators with their weights.

    Padding ``same`` or ``valid`` becomes explicit, with a separate pad if its sides differ; batch
    normalization right after a convolution or a linear layer is folded into its weights. The
    program itself is not changed.

    Raises:
        QuantizationError: The program is quantized already.
    """
    refuse_quantized(program)
    module = program.run_decompositions({}).module(check_guards=False)
    assert isinstance(module, GraphModule)
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _NAMED_PADDING:
            _spell_out_padding(module, node)
        elif node.target is _aten.pad.default and arguments(node)["mode"] == "constant":
            given = arguments(node)
            node.target = _aten.constant_pad_nd.default
            node.args = (given["self"], given["pad"], given["value"] or 0.0)
            node.kwargs = {}
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in _NORMS:
            _fold(module, node)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    return module


def constant_of(module: GraphModule, node: Any) -> Tensor | None:
    """Return the stored tensor that a node of a graph module reads; None for other nodes."""
    if not isinstance(node, Node) or node.op != "get_attr":
        return None
    value: Any = module
    for name in str(node.target).split("."):
        value = getattr(value, name, None)
    return value.detach() if isinstance(value, Tensor) else None


def store_constant(module: GraphModule, at: Node, name: str, value: Tensor, like: Node) -> Node:
    """Store a tensor in a module and insert a node that reads it.

    Args:
        module: Module to store the tensor in.
        at: Node to insert in front of.
        name: Name of the tensor.
        value: The tensor.
        like: Node with metadata of the same kind.
    """
    flat = name.replace(".", "_")
    while hasattr(module, flat):
        flat += "_"
    if value.is_floating_point():
        module.register_parameter(flat, torch.nn.Parameter(value.contiguous(), requires_grad=False))
    else:
        module.register_buffer(flat, value.contiguous())
    with module.graph.inserting_before(at):
        node = module.graph.get_attr(flat)
    fake = like.meta.get("val")
    if fake is not None:
        node.meta["val"] = fake.fake_mode.from_tensor(value.contiguous(), static_shapes=True)
    return node


def _spell_out_padding(module: GraphModule, node: Node) -> None:
    given = arguments(node)
    source, weight = given["input"], given["weight"]
    sizes = weight.meta["val"].shape[2:]
    rank = len(sizes)
    dilation = _repeated(given["dilation"], rank)
    same = given["padding"] == "same"
    totals = [step * (size - 1) if same else 0 for size, step in zip(sizes, dilation, strict=True)]
    if any(total % 2 for total in totals):
        # torch puts the odd one at the end.
        ends = [end for total in reversed(totals) for end in (total // 2, total - total // 2)]
        with module.graph.inserting_before(node):
            padded = module.graph.call_function(_aten.constant_pad_nd.default, (source, ends, 0.0))
        _describe(padded, node)
        source, totals = padded, [0] * rank
    node.target = _NAMED_PADDING[node.target]
    node.args = (
        source,
        weight,
        given["bias"],
        _repeated(given["stride"], rank),
        [total // 2 for total in totals],
        dilation,
        given["groups"],
    )
    node.kwargs = {}


def _describe(node: Node, origin: Node) -> None:
    """Set the metadata of a new node: the origin of another, and its own value."""
    for key in ("nn_module_stack", "stack_trace"):
        if origin.meta.get(key):
            node.meta[key] = origin.meta[key]
    values = [item.meta["val"] if isinstance(item, Node) else item for item in node.args]
    with next(item for item in values if isinstance(item, Tensor)).fake_mode:
        node.meta["val"] = node.target(*values)


def _repeated(values: Any, rank: int) -> list[int]:
    listed = list(values) if isinstance(values, (list, tuple)) else [values]
    return listed * rank if len(listed) == 1 else listed


def _fold(module: GraphModule, norm: Node) -> None:
    source = norm.args[0]
    if not isinstance(source, Node) or source.op != "call_function" or len(source.users) != 1:
        return
    transposed = source.target in TRANSPOSED_CONVOLUTIONS
    linear = source.target is _aten.linear.default
    if not (transposed or linear or source.target in CONVOLUTIONS):
        return
    if linear and source.meta["val"].dim() != 2:
        # The norm uses another channel dimension than the layer.
        return
    given = arguments(norm)
    mean = constant_of(module, given["running_mean"])
    variance = constant_of(module, given["running_var"])
    layer = arguments(source)
    weight, bias = constant_of(module, layer["weight"]), constant_of(module, layer["bias"])
    if mean is None or variance is None or weight is None:
        return
    if layer["bias"] is not None and bias is None:
        return
    gain, shift = constant_of(module, given["weight"]), constant_of(module, given["bias"])
    # In double precision: all later errors are measured against the folded weights.
    factor = (variance.double() + given["eps"]).rsqrt()
    factor = factor if gain is None else factor * gain.double()
    moved = (0.0 if bias is None else bias.double()) - mean.double()
    moved = moved * factor if shift is None else moved * factor + shift.double()
    scaled = weight.double() * _over_outputs(factor, weight, layer, transposed)
    name = str(layer["weight"].target)
    stored = [
        store_constant(module, source, f"{name}_folded", scaled.to(weight.dtype), layer["weight"]),
        store_constant(
            module, source, f"{name}_folded_bias", moved.to(weight.dtype), layer["weight"]
        ),
    ]
    source.args = (source.args[0], *stored, *source.args[3:])
    source.kwargs = {k: v for k, v in source.kwargs.items() if k not in ("weight", "bias")}
    if norm.target is _aten.batch_norm.default:
        norm.replace_all_uses_with(source)
        return
    for user in list(norm.users):
        if user.target is operator.getitem and user.args[1] == 0:
            user.replace_all_uses_with(source)


def _over_outputs(
    factor: Tensor, weight: Tensor, layer: dict[str, Any], transposed: bool
) -> Tensor:
    """Reshape one factor per output channel to broadcast over the weight."""
    ones = [1] * (weight.dim() - 2)
    if not transposed:
        return factor.reshape(-1, *[1] * (weight.dim() - 1))
    groups = int(layer["groups"])
    # Inputs come first; each group has its own outputs.
    per_group = factor.reshape(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1)
    return per_group.reshape(weight.shape[0], weight.shape[1], *ones)
