"""Check for a layout bug of ExecuTorch's XNNPACK converter at dynamic convolutions.

ExecuTorch 1.5 converts the input of a dynamic convolution to channels last at the first tensor it
derives from. Pads and sums in between keep their old layout and compute wrongly or fail. The
conversion is not needed if the convolution's input is in channels last already, or is a program
input without other users.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from edgesdk.quant.pt2e.folding import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS

__all__ = ["layout_is_safe"]

_aten = torch.ops.aten

_CHANNELS_LAST = frozenset(
    {
        *CONVOLUTIONS,
        *TRANSPOSED_CONVOLUTIONS,
        _aten.adaptive_avg_pool2d.default,
        _aten.avg_pool2d.default,
        _aten.max_pool2d.default,
        _aten.upsample_bilinear2d.vec,
    }
)
#: Names of operators that keep the layout of their input.
_KEEPING = frozenset(
    [
        "_native_batch_norm_legit_no_training",
        "add",
        "cat",
        "clamp",
        "clone",
        "constant_pad_nd",
        "div",
        "dropout",
        "elu",
        "gelu",
        "getitem",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "mul",
        "prelu",
        "relu",
        "sigmoid",
        "silu",
        "sub",
        "tanh",
    ]
)


def layout_is_safe(convolution: Node) -> bool:
    """Return True if ExecuTorch converts a dynamic convolution correctly."""
    source = convolution.args[0]
    if not isinstance(source, Node):
        return False
    if source.op == "placeholder":
        return all(user.target in CONVOLUTIONS for user in source.users)
    return _is_channels_last(source)


def _is_channels_last(node: Node) -> bool:
    pending, visited = [node], set()
    while pending:
        at = pending.pop()
        if at in visited or at.op == "get_attr":
            continue
        visited.add(at)
        if at.op != "call_function":
            return False
        if at.target in _CHANNELS_LAST:
            continue
        if at.target is _aten.mean.dim and len(at.args) > 2 and at.args[2]:
            continue
        name = getattr(at.target, "__name__", "").split(".")[0]
        if name not in _KEEPING:
            return False
        pending.extend(at.all_input_nodes)
    return True
