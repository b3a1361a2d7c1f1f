"""Trace a converter's error back to the line in the user's model."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgesdk.converters.coverage.rewrites import rewrite_for
from edgesdk.errors import ConversionError, UnsupportedOperatorError
from edgesdk.frontend.provenance import (
    PREPROCESSING,
    is_preprocessing,
    module_path,
    user_frame,
    where,
)

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["conversion_error", "locate", "unsupported_operator"]

# Messages of the four converters for an unknown operator; the first group is its name. The order
# matters: torch's ONNX exporter adds after the name that no decomposition exists either.
_UNKNOWN_OPERATOR = (
    re.compile(r"PyTorch convert function for op '([\w.]+)' not implemented"),
    re.compile(r"Unsupported fx node \w+, kind ([\w.]+)"),
    re.compile(r"[Ll]owering not found: ([\w.:]+)"),
    re.compile(
        r"No (?:ONNX function|decompositions) (?:registered|found) for .*?([\w]+[.:]+[\w.]+)"
    ),
    re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'"),
    re.compile(r"Missing out variants: \{'?([\w.:]+)'?"),
    re.compile(r"Operator (?:torch\._ops\.)?([\w.]+) is not (?:in )?Core ATen"),
    re.compile(r"does not support lowering of operator '?([\w.:]+)'?"),
)


_WITHOUT_IMAGE = "export without --image and pass normalized floats"

# Messages that name the node being converted.
_NODES = re.compile(
    r"While executing %(\w+)|rror when translating node %(\w+)|\bnode (\w+) \(\w+\) got"
    r"|\bLayer \"(\w+)\""
)


@dataclass(frozen=True)
class _Known:
    """A failure that names no operator.

    Attributes:
        words: Part of the converter's message.
        operators: Operators that lead to it, the likeliest first.
        remedy: The form to write instead.
        most_axes: Number of axes that a tensor may have, if the failure is about that.
    """

    words: str
    operators: tuple[str, ...]
    remedy: str
    most_axes: int = 0


_KNOWN = (
    _Known(
        "Abstract tracer value",
        ("item", "_local_scalar_dense", "nonzero"),
        "keep the value a tensor: without .item() and without sizes that depend on values",
    ),
    _Known("rank <= 5", (), "merge axes with reshape() until five remain", 5),
)

# Color codes of terminals.
_ANSI_COLORS = re.compile(r"\x1b\[[\d;]*m")


def _base(name: str) -> str:
    """Return the base name: ``sort`` for ``torch._ops.aten.sort.default``, ``aten::sort``."""
    plain = name.replace("::", ".").removeprefix("torch.ops.").removeprefix("torch._ops.")
    for namespace in ("aten.", "edge.aten.", "prims.", "torchvision.", "executorch_prim."):
        plain = plain.removeprefix(namespace)
    return plain.split(".")[0].removesuffix("_copy").removeprefix("special_")


def locate(program: ExportedProgram, operator: str) -> tuple[str, str]:
    """Find the first use of an operator.

    Args:
        program: The captured program.
        operator: Its name in any of the converters' spellings.

    Returns:
        File and line in the user's model, and module path; both empty if not found.
    """
    wanted = _base(operator)
    found = [
        node
        for node in program.graph.nodes
        if node.op == "call_function" and _base(str(node.target)) == wanted
    ]
    # The SDK's preprocessing runs first, but converters take its operators.
    found.sort(key=lambda node: is_preprocessing(node.meta.get("nn_module_stack")))
    for node in found[:1]:
        return where(node), module_path(node.meta.get("nn_module_stack"))
    return "", ""


def _locate_part(program: ExportedProgram, operator: str) -> tuple[str, str]:
    """Like :func:`locate`, but also search the operators that decompositions produce."""
    found = locate(program, operator)
    if found != ("", ""):
        return found
    try:
        return locate(program.run_decompositions(), operator)
    except Exception:  # noqa: BLE001 - a second failure must not hide the first one
        return "", ""


def unsupported_operator(
    program: ExportedProgram, operator: str, target: str, why: str = ""
) -> UnsupportedOperatorError:
    """Return the error for an unsupported operator, with the user's line and a known rewrite."""
    place, path = _locate_part(program, operator)
    rewrite = rewrite_for(operator, target)
    inside = f" in module {path!r}" if path else ""
    if place == PREPROCESSING:
        rewrite = _WITHOUT_IMAGE
    return UnsupportedOperatorError(
        f"{target} does not support the operator {operator}{inside}" + (f": {why}" if why else ""),
        where=place or None,
        remedy=rewrite
        or f"rewrite that line with operators that {target} supports, or leave {target} out",
    )


def conversion_error(program: ExportedProgram, target: str, error: Exception) -> ConversionError:
    """Translate an exception of a vendor's converter."""
    text = _whole_message(error)
    found = _converted_node(program, error)
    if (complex_node := _complex_node(program, text, found)) is not None:
        return UnsupportedOperatorError(
            f"{target} does not support the complex numbers of {_operator(complex_node)}"
            f"{_inside(complex_node)}",
            where=where(complex_node) or None,
            remedy="compute the real and the imaginary part as two tensors; a Fourier transform of "
            "fixed length is a product with a matrix of cosines and one of sines",
        )
    for complaint in _UNKNOWN_OPERATOR:
        match = complaint.search(text)
        if match:
            return unsupported_operator(program, match[1], target)
    place, at = _node_in(program, text), ""
    if found is not None:
        place = place or where(found)
        at = f" at {_operator(found)}{_inside(found)}"
    known = next((one for one in _KNOWN if one.words in text), None)
    if known is not None and not place:
        places = (locate(program, name)[0] for name in known.operators)
        place = next(filter(None, places), "") or _rank_beyond(program, known.most_axes)
    first = _chain(error)[-1]
    because = "" if first is error else f", from {type(first).__name__}: {_first_line(first)}"
    return ConversionError(
        f"{target}'s converter failed{at} with {type(error).__name__}: "
        f"{_first_line(error)}{because}",
        where=place or None,
        remedy=_WITHOUT_IMAGE
        if place == PREPROCESSING
        else known.remedy
        if known is not None and place
        else f"rewrite that line with other operators, or leave {target} out"
        if place
        else f"leave {target} out; --debug shows the converter's own message",
    )


def _complex_node(program: ExportedProgram, text: str, found: Any) -> Any:
    """Return an operator with complex numbers if the failure is about one; else None."""
    if found is not None and any(map(_is_complex, (found, *found.all_input_nodes))):
        return found
    if not re.search(r"\bcomplex\b|complex<|mismatched dtypes", text):
        return None
    return next((node for node in program.graph.nodes if _is_complex(node)), None)


def _is_complex(node: Any) -> bool:
    dtype = getattr(node.meta.get("val"), "dtype", None)
    return node.op == "call_function" and getattr(dtype, "is_complex", False)


def _operator(node: Any) -> str:
    """The operator of a node in any dialect, such as ``aten.pad``."""
    match = re.search(r"\w+\.\w+", str(node.target))
    return match[0] if match else str(node.target)


def _inside(node: Any) -> str:
    path = module_path(node.meta.get("nn_module_stack"))
    return f" in module {path!r}" if path else ""


def _converted_node(program: ExportedProgram, error: BaseException) -> Any:
    """Find the operator that a converter was at, from the variables of the innermost frame."""
    named = {node.name: node for node in program.graph.nodes if node.op == "call_function"}
    for one in reversed(_chain(error)):
        frames = [frame for frame, _ in traceback.walk_tb(one.__traceback__)]
        for frame in reversed(frames):
            for value in list(frame.f_locals.values()):
                node = _as_node(value, named)
                if node is not None and where(node):
                    return node
    return None


def _as_node(value: Any, named: Mapping[str, Any]) -> Any:
    """Return the operator that a converter's variable stands for, or None."""
    kind = type(value).__name__
    if kind == "Node" and getattr(value, "op", "") == "call_function":
        return value
    # coremltools' own nodes keep the names of the program that they were read from.
    if kind == "InternalTorchIRNode":
        return named.get(str(value.name))
    return None


def _rank_beyond(program: ExportedProgram, most: int) -> str:
    """Return the line of the first tensor with more axes, or of an ``einsum``, which makes some."""
    for node in program.graph.nodes if most else ():
        value = node.meta.get("val")
        if node.op == "call_function" and len(getattr(value, "shape", ())) > most:
            return where(node)
    return locate(program, "einsum")[0] if most else ""


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception and its causes, the first cause last."""
    found = [error]
    while len(found) < 8 and (cause := found[-1].__cause__ or found[-1].__context__) is not None:
        found.append(cause)
    return found


def _whole_message(error: BaseException) -> str:
    return "\n".join(str(one) for one in _chain(error))


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in _ANSI_COLORS.sub("", str(error)).splitlines() if line.strip()]
    return (lines or ["no message"])[0][:500]


def _node_in(program: Any, text: str) -> str:
    named = {node.name: node for node in program.graph.nodes}
    for match in _NODES.finditer(text):
        name = next(group for group in match.groups() if group)
        if name in named:
            return where(named[name])
    _, original, rest = text.partition("Original traceback")
    frame = user_frame(rest) if original else None
    return str(frame) if frame is not None else ""
