"""aten's own decomposition of an operator: the last resort where a target lacks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from edgesdk.converters.rewriting.rule import Rule

__all__ = ["Takes", "decomposition_rule"]

#: Return True if a target's converter has a translation of an operator.
Takes = Callable[[Any], bool]

_COMPOSITE = "CompositeImplicitAutograd"


def decomposition_rule(node: fx.Node, takes: Takes, target: str) -> Rule | None:
    """Return the rule that decomposes an operator; None if it is taken or has no decomposition.

    Args:
        node: The operator.
        takes: Operators of the target.
        target: Its name.
    """
    found = node.target
    if not isinstance(found, torch._ops.OpOverload) or found._schema.is_mutable or takes(found):
        return None
    parts = _decomposition(found)
    if parts is None:
        return None
    name = ".".join(str(found).split(".")[:2])
    return Rule(
        frozenset({str(found)}),
        frozenset({target}),
        f"{target} has no {name}; torch computes it from other operators",
        parts,
        parts=True,
    )


def _decomposition(found: torch._ops.OpOverload) -> Callable[..., Any] | None:
    # The package of references adds its own to the table.
    import torch._refs
    from torch._decomp import decomposition_table

    if found in decomposition_table:
        return _plain(decomposition_table[found])
    if torch._C._dispatch_has_kernel_for_dispatch_key(found.name(), _COMPOSITE):
        return _plain(found)
    primitive = getattr(found, "impl_aten", None)
    return None if primitive is None else _plain(primitive)


def _plain(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Let several results be a list, whatever sequence they come in."""

    def call(*args: Any, **kwargs: Any) -> Any:
        # Recurrent layers would become one operator of the CPU's library.
        with torch.backends.mkldnn.flags(enabled=False):
            result = compute(*args, **kwargs)
        return result if isinstance(result, torch.Tensor) else list(pytree.tree_leaves(result))

    return call
