"""Constants of ``forward()``, such as ``torch.tensor([0, 2])``, without detachment in place."""

from __future__ import annotations

from torch.export import ExportedProgram

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting.surgery import functional

__all__ = ["without_detaching"]


def without_detaching(program: ExportedProgram) -> tuple[ExportedProgram, tuple[Rewrite, ...]]:
    """Remove detachments in place, which a converter that traces the program again refuses.

    Args:
        program: Not changed.

    Returns:
        The program itself where it detaches nothing, else a copy; and no rewrite, as no operator
        that computes is another.
    """
    detaches = any(str(node.target) == "aten.detach_.default" for node in program.graph.nodes)
    return (functional(program) if detaches else program), ()
