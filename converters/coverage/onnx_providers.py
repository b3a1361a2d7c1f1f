"""Operators that the execution providers of phones support, from lists that ONNX Runtime ships.

The lists name operators and conditions in prose. Conditions that depend on the file alone are
checked here; all others are assumed to hold.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgesdk.converters.coverage.onnx_graph import OnnxGraph, OnnxNode
from edgesdk.converters.coverage.undelegated import Reason
from edgesdk.errors import MissingBackendError

__all__ = ["PROVIDERS", "Provider", "why_not"]


@dataclass(frozen=True)
class Provider:
    """One execution provider.

    Attributes:
        name: Name in ONNX Runtime.
        target: Name in the table of rewrites.
        file: List in ``onnxruntime.tools.mobile_helpers``.
        fixed_shapes: True if every input of a node must have a fixed shape.
        most_axes: Largest number of axes.
    """

    name: str
    target: str
    file: str
    fixed_shapes: bool
    most_axes: int

    def rules(self) -> dict[str, str]:
        """Return the condition of each ``domain:operator``, in prose; empty if it has none.

        Raises:
            MissingBackendError: onnxruntime is not installed.
        """
        try:
            folder = importlib.resources.files("onnxruntime.tools.mobile_helpers")
        except ModuleNotFoundError as error:
            raise MissingBackendError("onnxruntime", "onnx") from error
        rules: dict[str, str] = {}
        for line in (folder / self.file).read_text(encoding="utf-8").splitlines():
            cells = line.strip().split("|")
            # The list has one operator with a dot in place of the colon.
            if len(cells) == 4 and cells[1].startswith(("ai.onnx", "com.microsoft")):
                name = cells[1].replace("ai.onnx.", "ai.onnx:")
                rules[name.casefold()] = cells[2].replace("<br/>", " ").strip()
        return rules


PROVIDERS = (
    Provider(
        "CoreMLExecutionProvider", "onnx:coreml", "coreml_supported_mlprogram_ops.md", False, 5
    ),
    # NNAPI's documentation limits tensors to four axes.
    Provider("NnapiExecutionProvider", "onnx:nnapi", "nnapi_supported_ops.md", True, 4),
)


def why_not(
    provider: Provider, rules: Mapping[str, str], graph: OnnxGraph, node: OnnxNode
) -> tuple[Reason, str] | None:
    """Find the reason why a provider leaves a node; None if it should take it.

    Args:
        provider: The provider.
        rules: Its :meth:`Provider.rules`.
        graph: The model.
        node: One of its nodes.
    """
    words = rules.get(f"{node.domain}:{node.operator}".casefold())
    if words is None:
        return "not supported", f"{provider.name} does not support {node.operator}"
    shapes = [graph.shapes.get(name) for name in node.inputs if name]
    if provider.fixed_shapes and any(shape is None or None in shape for shape in shapes):
        return "dynamic shape", "a size of an input is free"
    axes = max((len(shape) for shape in shapes if shape is not None), default=0)
    if axes > provider.most_axes:
        return "constraint", f"{axes} axes; {provider.name} supports {provider.most_axes}"
    for condition, broken in _CONDITIONS.items():
        if condition in words.lower() and broken(graph, node):
            return "constraint", words
    return None


def _computed(graph: OnnxGraph, node: OnnxNode, first: int) -> bool:
    return any(name and name not in graph.constants for name in node.inputs[first:])


def _spatial_axes(graph: OnnxGraph, node: OnnxNode) -> int | None:
    kernel = node.attributes.get("kernel_shape")
    if kernel:
        return len(kernel)
    shape = graph.shapes.get(node.inputs[0])
    return None if shape is None else len(shape) - 2


def _not_planar(graph: OnnxGraph, node: OnnxNode) -> bool:
    return _spatial_axes(graph, node) not in (None, 2)


def _not_line_or_plane(graph: OnnxGraph, node: OnnxNode) -> bool:
    return _spatial_axes(graph, node) not in (None, 1, 2)


def _text(node: OnnxNode, name: str, default: str) -> str:
    value = node.attributes.get(name, default)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _condition_is_float(graph: OnnxGraph, node: OnnxNode) -> bool:
    return any(graph.dtypes.get(name) not in (None, "FLOAT", "FLOAT16") for name in node.inputs[1:])


# Phrases of the lists and checks that they are violated; the shorter of two phrases comes last.
_CONDITIONS: dict[str, Callable[[OnnxGraph, OnnxNode], bool]] = {
    "1d/2d conv": _not_line_or_plane,
    "only 2d": _not_planar,
    "weights and bias should be constant": lambda graph, node: _computed(graph, node, 1),
    "weight and bias must be constant": lambda graph, node: _computed(graph, node, 1),
    "bias if provided must be constant": lambda graph, node: _computed(graph, node, 2),
    "input b must be constant": lambda graph, node: _computed(graph, node, 1),
    "input b should be constant": lambda graph, node: _computed(graph, node, 1),
    "must be constant initializers": lambda graph, node: _computed(graph, node, 1),
    "`splits` must be constant": lambda graph, node: _computed(graph, node, 1),
    "input axes should be constant": lambda graph, node: _computed(graph, node, 1),
    "input pads and constant_value should be constant": lambda graph, node: _computed(
        graph, node, 1
    ),
    "only constant mode pad": lambda graph, node: _text(node, "mode", "constant") != "constant",
    "batch_dims must be 0": lambda graph, node: node.attributes.get("batch_dims", 0) != 0,
    "'mode' of 'linear'": lambda graph, node: (
        _text(node, "mode", "linear") not in ("linear", "bilinear")
    ),
    "branches must be float": _condition_is_float,
    "both inputs are fp32": lambda graph, node: any(
        graph.dtypes.get(name, "FLOAT") != "FLOAT" for name in node.inputs
    ),
}
