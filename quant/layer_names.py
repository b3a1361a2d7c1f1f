"""What layers and tensors of a program are called: the paths of the modules they come from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.fx import Node

__all__ = ["layer_path", "lies_below", "module_stack", "operator_name", "tensor_names"]

#: The mark of a second call of the same module, such as ``relu@1``.
_CALL = re.compile(r"@\d+")


def module_stack(node: Node) -> tuple[str, ...]:
    """Paths of the modules that an operator lies in, outermost first, without the model itself."""
    entries = (node.meta.get("nn_module_stack") or {}).values()
    paths = [str(entry[0] if isinstance(entry, tuple) else entry) for entry in entries]
    plain = [_CALL.sub("", path.removeprefix("L['self']")).lstrip(".") for path in paths]
    return tuple(path for path in plain if path)


def layer_path(node: Node) -> str:
    """The name of the layer that an operator computes.

    Args:
        node: An operator of an exported program.

    Returns:
        Path of the innermost module, such as ``blocks.0.conv``; the node's own name for a function
        that the model itself calls.
    """
    stack = module_stack(node)
    return stack[-1] if stack else node.name


def lies_below(path: str, above: Iterable[str]) -> bool:
    """Whether a module path is one of several, or lies below one."""
    return any(path == other or path.startswith(f"{other}.") for other in above)


def operator_name(node: Node) -> str:
    """Name of an operator without namespace and overload: ``conv2d``; empty for other nodes."""
    if node.op != "call_function":
        return ""
    parts = str(node.target).split(".")
    return parts[1] if len(parts) == 3 else str(getattr(node.target, "__name__", node.target))


def tensor_names(nodes: Iterable[Node]) -> dict[Node, str]:
    """A name for every tensor that outlives another capture of the same model.

    Names of nodes count operators of the whole program and shift when one comes before them; these
    count within a module.

    Args:
        nodes: All nodes of a graph, in order.

    Returns:
        ``PATH:OPERATOR`` for results of operators, with ``#2`` and on for further ones; the name of
        a placeholder.
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
