"""Names of the user's operators."""

from __future__ import annotations

from typing import Any

__all__ = ["user_operator"]


def user_operator(node: Any) -> str:
    """Return the operator name of a node of a captured program, such as ``aten.conv2d.default``.

    Padding gets its mode as a suffix, as in ``aten.pad.reflect``: all modes share one operator, and
    delegates support only some of them.

    Args:
        node: A ``torch.fx.Node`` that calls an operator.
    """
    name = str(node.target)
    if name == "aten.pad.default" and len(node.args) > 2:
        return f"aten.pad.{node.args[2]}"
    return name
