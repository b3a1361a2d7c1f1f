"""Known rewrites: forms of an operator that a delegate supports in place of the usual form.

One table serves all targets; the first row that fits wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Rewrite", "known_rewrites", "rewrite_for"]


@dataclass(frozen=True)
class Rewrite:
    """One known rewrite.

    Attributes:
        operators: Normalized operator names, as :func:`rewrite_for` reads them.
        targets: Targets it helps on; a target without variant stands for all its variants.
        text: The form to write instead.
        reasons: Reasons it applies to; empty for all but ``dtype``, which needs another dtype.
    """

    operators: frozenset[str]
    targets: tuple[str, ...]
    text: str
    reasons: tuple[str, ...] = ()

    def fits(self, names: tuple[str, ...], target: str, reason: str) -> bool:
        """Return True if it applies to one of ``names`` on ``target``, left for ``reason``."""
        if not (self.operators & set(names) or "*" in self.operators):
            return False
        if not any(target == own or target.startswith(f"{own}:") for own in self.targets):
            return False
        if self.reasons:
            return reason in self.reasons
        return reason != "dtype"


def _row(operators: str, targets: str, text: str, reasons: tuple[str, ...] = ()) -> Rewrite:
    return Rewrite(frozenset(operators.split()), tuple(targets.split()), text, reasons)


_ANY = ("not supported", "constraint", "dtype", "dynamic shape", "unknown", "")
_XNNPACK = "executorch:xnnpack"
_LITE = "litert"
_PHONE_ONNX = "onnx:coreml onnx:nnapi"

_MIRROR = (
    "pad with narrow() and torch.cat: cut the rows next to the edge one by one, join them in "
    "mirrored order before and after, then do the same with the columns"
)
_NORMALIZE = (
    "compute it step by step: m = x.mean((2, 3), keepdim=True); d = x - m; "
    "y = d * torch.rsqrt((d * d).mean((2, 3), keepdim=True) + eps), then times the weight and plus "
    "the bias"
)
_SORT_INDICES = (
    "take only the indices, torch.topk(x, k, dim)[1] with k the length of the axis for a full "
    "sort, and the values with torch.gather(x, dim, indices)"
)
_DYNAMIC_CONVOLUTION = (
    "keep the kernels constant: run the K convolutions and add up their outputs, each multiplied "
    "by its weight; a 1x1 kernel can also be a torch.bmm over the flattened picture"
)
_STEP = (
    "split the axis in two with reshape(..., n // step, step, ...) and keep the first of each "
    "group with narrow()"
)
_ELU = "write torch.relu(x) + alpha * (torch.exp(torch.clamp(x, max=0.0)) - 1.0)"
_CUMSUM = "multiply by a triangular matrix of ones that is registered as a buffer"
_MODULO = "write x - torch.floor(x / m) * m"
_LOGCUMSUMEXP = (
    "write m + torch.log(torch.cumsum(torch.exp(x - m), dim)) with m = x.amax(dim, keepdim=True)"
)
_HARDSWISH = "write x * torch.clamp(x + 3, 0, 6) / 6"

_TABLE: tuple[Rewrite, ...] = (
    _row("logcumsumexp", "executorch litert", _LOGCUMSUMEXP),
    # ExecuTorch with XNNPACK, operators in the edge dialect.
    # Padding decomposes into arithmetic on integer indices, so its dtype counts too.
    _row("pad.reflect reflection_pad1d reflection_pad2d", _XNNPACK, _MIRROR, _ANY),
    _row(
        "pad.replicate replication_pad1d replication_pad2d",
        _XNNPACK,
        "pad with narrow() and torch.cat: repeat the first and the last row, then the columns",
        _ANY,
    ),
    _row(
        "instance_norm group_norm native_group_norm _native_batch_norm_legit",
        _XNNPACK,
        _NORMALIZE,
    ),
    _row(
        "batch_norm _native_batch_norm_legit_no_training",
        _XNNPACK,
        "register scale = weight / sqrt(running_var + eps) and shift = bias - running_mean * scale "
        "as buffers of shape (1, channels, 1, 1) and write x * scale + shift",
    ),
    _row(
        "layer_norm native_layer_norm",
        _XNNPACK,
        "bring the normalized axes to the end of a 4-D tensor and " + _NORMALIZE,
    ),
    _row(
        "var std var_mean std_mean",
        _XNNPACK,
        "write the mean of squares: d = x - x.mean((2, 3), keepdim=True); "
        "v = (d * d).mean((2, 3), keepdim=True)",
    ),
    _row(
        "mean adaptive_avg_pool2d _adaptive_avg_pool2d",
        _XNNPACK,
        "average a 4-D tensor over its last two axes, x.mean((2, 3), keepdim=True), and flatten "
        "afterwards",
    ),
    _row(
        "sum",
        _XNNPACK,
        "over the last two axes of a 4-D tensor: x.mean((2, 3), keepdim=True) times their "
        "size as a float",
    ),
    _row(
        "amax max adaptive_max_pool2d",
        _XNNPACK,
        "over the last two axes of a 4-D tensor: torch.nn.functional.max_pool2d with a kernel as "
        "large as the picture",
    ),
    _row(
        "upsample_nearest2d",
        _XNNPACK,
        "use a depthwise ConvTranspose2d whose weights are all one and whose kernel and stride "
        "are the factor",
    ),
    _row(
        "sort argsort",
        "executorch",
        "torch.topk(x, k, dim) with k the length of the axis gives sorted values and indices; "
        "gather() what follows the order",
    ),
    _row(
        "unsqueeze squeeze",
        _XNNPACK,
        "use reshape() with the sizes written out",
        ("constraint", "not supported", ""),
    ),
    _row(
        "select select_int",
        _XNNPACK,
        "use narrow(dim, index, 1) and reshape(); for heads that are split by indexing, one 1x1 "
        "convolution per head",
    ),
    _row(
        "expand repeat",
        _XNNPACK,
        "let the operator that follows broadcast instead",
    ),
    _row("slice", _XNNPACK, _STEP, ("constraint",)),
    _row(
        "pow",
        _XNNPACK,
        "multiply: x * x * x for a whole power, torch.sqrt(x) for a half",
        ("constraint", ""),
    ),
    _row(
        "_softmax softmax",
        _XNNPACK,
        "permute the tensor so that the axis of the softmax is the last one",
        ("constraint", ""),
    ),
    _row("convolution conv2d", _XNNPACK, _DYNAMIC_CONVOLUTION, ("constraint", "")),
    _row(
        "mm addmm linear",
        _XNNPACK,
        "torch.bmm takes a second factor that is computed: torch.bmm(a[None], b[None]) with "
        "reshape() for the axis",
        ("constraint", ""),
    ),
    _row("elu", _XNNPACK, _ELU),
    _row(
        "softplus",
        _XNNPACK,
        "write torch.relu(x) + torch.log(1.0 + torch.exp(-torch.abs(x)))",
    ),
    _row("cumsum", _XNNPACK, _CUMSUM),
    _row("remainder", _XNNPACK, _MODULO),
    _row(
        "eye arange",
        _XNNPACK,
        "make it a buffer of the module: self.register_buffer(...) in __init__",
        ("not supported", "dtype", ""),
    ),
    _row(
        "index index_select",
        _XNNPACK,
        "if the indices are constant: narrow() and torch.cat",
        ("not supported", "dtype", ""),
    ),
    _row(
        "_to_dim_order _to_dim_order_copy",
        _XNNPACK,
        "write numbers next to a tensor as floats, x * 2.0 and not x * 2, and convert integers "
        "outside the part that should be fast",
        ("dtype",),
    ),
    _row(
        "*",
        _XNNPACK,
        "compute in float32: call x.float() before it and keep integers and booleans out of the "
        "part that should be fast",
        ("dtype",),
    ),
    _row(
        "*",
        _XNNPACK,
        "export without this free dimension, one artefact for each size",
        ("dynamic shape",),
    ),
    # LiteRT, operators of the flatbuffer and of the program.
    _row(
        "sort argsort stablehlo_sort stablehlo.sort topk topk_v2",
        _LITE,
        _SORT_INDICES,
        ("not supported", ""),
    ),
    _row(
        "eye stablehlo_iota stablehlo.iota arange range",
        _LITE,
        "make it a buffer of the module: self.register_buffer(...) in __init__",
    ),
    _row("mirror_pad pad.reflect reflection_pad1d reflection_pad2d", "litert:xnnpack", _MIRROR),
    _row(
        "conv_2d depthwise_conv_2d transpose_conv",
        _LITE,
        _DYNAMIC_CONVOLUTION,
        ("constraint", ""),
    ),
    _row(
        "resize_nearest_neighbor upsample_nearest2d",
        "litert:xnnpack",
        "repeat the rows with x.reshape(b, c, h, 1, w) joined to itself by torch.cat on axis 3 and "
        "reshaped to (b, c, 2 * h, w), then the columns in the same way",
    ),
    _row("strided_slice", "litert:xnnpack", _STEP, ("constraint", "")),
    _row(
        "pow",
        "litert:xnnpack",
        "multiply: x * x * x for a whole power, torch.sqrt(x) for a half",
    ),
    _row(
        "broadcast_to tile",
        "litert:xnnpack",
        "let the operator that follows broadcast instead of expand()",
    ),
    _row("cumsum", _LITE, _CUMSUM),
    _row("floor_mod", "litert:xnnpack", _MODULO),
    _row("leaky_relu", "litert:xnnpack", "write torch.maximum(x, slope * x)"),
    _row("elu", "litert:xnnpack", _ELU),
    _row(
        "gather gather_nd",
        "litert:xnnpack",
        "if the indices are constant: narrow() and torch.cat",
    ),
    _row(
        "*",
        "litert:xnnpack",
        "compute in float32: call x.float() before it and keep integers and booleans out of the "
        "part that should be fast",
        ("dtype",),
    ),
    # ONNX, on the execution providers of phones.
    _row("pad", _PHONE_ONNX, _MIRROR, ("constraint", "not supported", "")),
    _row("instancenormalization groupnormalization", "onnx:nnapi", _NORMALIZE),
    _row(
        "gather",
        _PHONE_ONNX,
        "use narrow(dim, index, 1) and reshape() instead of indexing with a number",
    ),
    _row("flatten", "onnx:coreml", "use reshape() with the sizes written out"),
    _row("hardswish", _PHONE_ONNX, _HARDSWISH),
    _row("mod", _PHONE_ONNX, "write x - (x / m).round() * m, or keep x below m"),
    _row("cumsum", _PHONE_ONNX, _CUMSUM),
    _row(
        "expand tile",
        _PHONE_ONNX,
        "let the operator that follows broadcast instead of expand()",
        ("not supported", ""),
    ),
    _row(
        "*",
        _PHONE_ONNX,
        "export without this free dimension, one artefact for each size",
        ("dynamic shape",),
    ),
    # Core ML.
    _row(
        "*",
        "coreml",
        "compute in fp16, as coreml does without :fp32; where accuracy forbids it, the GPU is "
        "the fastest unit",
        ("dtype",),
    ),
    _row(
        "*",
        "coreml",
        "export with fixed sizes, one artefact for each",
        ("dynamic shape",),
    ),
    _row(
        "*",
        "coreml",
        "merge axes with reshape() until five remain",
        ("constraint",),
    ),
)


def known_rewrites() -> tuple[Rewrite, ...]:
    """Return all rows of the table, in the order of precedence."""
    return _TABLE


def rewrite_for(operator: str, target: str, reason: str = "") -> str:
    """Find the known rewrite of an operator for a target.

    Args:
        operator: Name in any dialect: ``aten.sort.default``, ``aten::sort.values``, ``sort``,
            ``ai.onnx:Pad``, ``MIRROR_PAD``, ``resample``.
        target: Target with variant, such as ``executorch:xnnpack``; without a variant, its default
            delegate.
        reason: The manifest's reason for not delegating it; empty if the conversion failed.

    Returns:
        The form to write instead; empty if none is known.
    """
    names = _normalized(operator)
    full = {"executorch": _XNNPACK, "litert": "litert:xnnpack"}.get(target, target)
    for row in _TABLE:
        if row.fits(names, full, reason):
            return row.text
    return ""


def _normalized(operator: str) -> tuple[str, ...]:
    """Return ``pad.reflect`` and ``pad`` for ``aten::pad.reflect``, ``pad`` for ``ai.onnx:Pad``."""
    plain = re.sub(r"^torch\._?ops\.", "", operator.strip()).replace("::", ".")
    if ":" in plain:
        return (plain.rpartition(":")[2].lower(),)
    plain = re.sub(r"^(?:edge\.)?(?:aten|dim_order_ops|prims|quantized_decomposed)\.", "", plain)
    name, _, overload = plain.lower().partition(".")
    name = name.removesuffix("_copy")
    return (f"{name}.{overload}", name) if overload else (name,)
