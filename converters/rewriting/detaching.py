"""Remove steps that no artefact computes: detachments in place, and checks of values.

``torch.tensor([0, 2])`` in ``forward()`` leaves the first, an assertion about a tensor the second.
"""

from __future__ import annotations

from torch.export import ExportedProgram

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting.surgery import Surgery, functional

__all__ = ["without_detaching"]


_CHECKS = ("aten._assert_async.", "aten._assert_scalar.", "aten._assert_tensor_metadata.")


def without_detaching(program: ExportedProgram) -> tuple[ExportedProgram, tuple[Rewrite, ...]]:
    """Remove what a converter that traces the program again refuses.

    Args:
        program: Not changed.

    Returns:
        The program itself where there is nothing to remove, else a copy; and no rewrite, as no
        operator that computes is another.
    """
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    if "aten.detach_.default" in names:
        program = functional(program)
    if not any(name.startswith("aten._assert_async.") for name in names):
        return program, ()
    surgery = Surgery(program)
    for node in list(surgery.graph.nodes):
        if str(node.target).startswith(_CHECKS) and not node.users:
            surgery.graph.erase_node(node)
    return surgery.finished(), ()
