"""What the user's operators are called."""

from __future__ import annotations

from typing import Any

__all__ = ["user_operator"]


def user_operator(node: Any) -> str:
    """Name of the operator of one node of a captured program, such as ``aten.conv2d.default``.

    Paddings are told apart by their mode, ``aten.pad.reflect``: one operator stands for all of
    them, and only some modes trouble a delegate.

    Args:
        node: A ``torch.fx.Node`` that calls an operator.
    """
    name = str(node.target)
    if name == "aten.pad.default" and len(node.args) > 2:
        return f"aten.pad.{node.args[2]}"
    return name
