"""Names of a program's layers and tensors, from the paths of their modules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.fx import Node

__all__ = ["layer_path", "lies_below", "module_stack", "operator_name", "tensor_names"]

#: Suffix of a further call of the same module, as in ``relu@1``.
_CALL = re.compile(r"@\d+")


def module_stack(node: Node) -> tuple[str, ...]:
    """Return the paths of the modules around an operator, outermost first, without the model."""
    entries = (node.meta.get("nn_module_stack") or {}).values()
    paths = [str(entry[0] if isinstance(entry, tuple) else entry) for entry in entries]
    plain = [_CALL.sub("", path.removeprefix("L['self']")).lstrip(".") for path in paths]
    return tuple(path for path in plain if path)


def layer_path(node: Node) -> str:
    """Return the name of the layer of an operator.

    Args:
        node: An operator of an exported program.

    Returns:
        Path of the innermost module, such as ``blocks.0.conv``; the node's name for functions that
        the model itself calls.
    """
    stack = module_stack(node)
    return stack[-1] if stack else node.name


def lies_below(path: str, above: Iterable[str]) -> bool:
    """Return True if a module path is in ``above``, or below one of them."""
    return any(path == other or path.startswith(f"{other}.") for other in above)


def operator_name(node: Node) -> str:
    """Return an operator's name without namespace and overload, as ``conv2d``; else empty."""
    if node.op != "call_function":
        return ""
    parts = str(node.target).split(".")
    return parts[1] if len(parts) == 3 else str(getattr(node.target, "__name__", node.target))


def tensor_names(nodes: Iterable[Node]) -> dict[Node, str]:
    """Name every tensor so that another capture of the same model gives the same names.

    Node names number the operators of the whole program and change when one is inserted; these
    names number them within a module.

    Args:
        nodes: All nodes of a graph, in order.

    Returns:
        ``PATH:OPERATOR`` for results of operators, with ``#2`` and so on for further ones; the
        node's name for placeholders.
    """
    counts: Counter[str] = Counter()
    names: dict[Node, str] = {}
    for node in nodes:
        if node.op != "call_function":
            names[node] = node.name
            continue
        stack = module_stack(node)
        name = f"{stack[-1] if stack else ''}:{operator_name(node).rstrip('_')}"
        counts[name] += 1
        names[node] = name if counts[name] == 1 else f"{name}#{counts[name]}"
    return names
