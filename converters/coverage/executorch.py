"""Delegate coverage of an ExecuTorch program, read from its lowered graphs."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgesdk.bundle.manifest import CoverageRecord
from edgesdk.converters.coverage.executorch_reasons import reason_finder
from edgesdk.converters.coverage.naming import user_operator
from edgesdk.converters.coverage.undelegated import Undelegated, gather
from edgesdk.errors import UsageError
from edgesdk.frontend.provenance import module_path, where

if TYPE_CHECKING:
    from executorch.exir import EdgeProgramManager
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

__all__ = ["cover_executorch"]


def cover_executorch(
    program_before: ExportedProgram,
    lowered: EdgeProgramManager,
    delegate: str = "xnnpack",
    *,
    partitioner: Any = None,
) -> CoverageRecord:
    """Determine which operators the delegate took, and why it left the others.

    Call this after ``to_edge_transform_and_lower(...)`` in the same process, and before
    ``to_executorch()``, which rewrites the lowered graphs. The partitioner's checks run again for
    every undelegated operator.

    Args:
        program_before: Program before lowering, with the user's operators.
        lowered: Result of the lowering.
        delegate: ``xnnpack``, ``vulkan``, ``coreml``, or ``portable`` for none.
        partitioner: Partitioner used; None for the default of the delegate.

    Returns:
        The record, without planned memory; ``delegate`` is ``none`` if none is used.

    Raises:
        UnknownNameError: The delegate is unknown.
        UsageError: ``to_executorch()`` was called already.
        MissingBackendError: ExecuTorch is not installed.
    """
    find_reason = reason_finder(delegate, partitioner)
    origins = {node.name: node for node in program_before.graph.nodes if node.op == "call_function"}
    delegated: Counter[str] = Counter()
    found: list[Undelegated] = []
    partitions = 0
    for method in sorted(lowered.methods):
        program = lowered.exported_program(method)
        for graph_module in _graph_modules(program.graph_module):
            for node in graph_module.graph.nodes:
                _refuse_planned(node)
                taken = _delegated_program(graph_module, node)
                if taken is not None:
                    partitions += 1
                    delegated.update(_names(taken))
                elif _computes(node):
                    reason, detail = find_reason(node, program)
                    found.append(Undelegated(_name(node), reason, detail, *_place(node, origins)))
    none = delegate in ("portable", "none")
    return CoverageRecord(
        delegate="none" if none else delegate,
        method=(
            "read from the lowered graph: without a delegate, every operator runs on a portable "
            "kernel"
            if none
            else "read from the lowered graph; the partitioner's checks ran again for every "
            "undelegated operator"
        ),
        delegated=dict(sorted(delegated.items())),
        left=gather(found, f"executorch:{'portable' if none else delegate}"),
        partitions=partitions,
        complete=not found,
    )


def _graph_modules(root: GraphModule) -> Iterator[GraphModule]:
    # Branches of control flow are nested graph modules.
    from torch.fx import GraphModule

    for module in root.modules():
        if isinstance(module, GraphModule):
            yield module


def _refuse_planned(node: Node) -> None:
    if node.op == "call_function" and _name(node) == "alloc":
        raise UsageError(
            "to_executorch() has already rewritten the lowered program",
            remedy="determine the coverage before calling to_executorch()",
        )


def _delegated_program(graph_module: GraphModule, node: Node) -> ExportedProgram | None:
    if node.op != "call_function" or str(node.target) != "executorch_call_delegate":
        return None
    module = getattr(graph_module, str(node.args[0].target))
    return module.original_module


def _names(program: ExportedProgram) -> Counter[str]:
    return Counter(
        _name(node) for node in program.graph.nodes if _computes(node) and not _is_folded(node)
    )


def _name(node: Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _computes(node: Node) -> bool:
    """Return True if a node computes a tensor, not sizes and not tuple access."""
    from torch import Tensor

    if node.op != "call_function" or node.target is operator.getitem:
        return False
    if str(node.target) == "executorch_call_delegate":
        return False
    value = node.meta.get("val")
    values = value if isinstance(value, (list, tuple)) else (value,)
    return any(isinstance(item, Tensor) for item in values)


def _is_folded(node: Node) -> bool:
    # Quantize and dequantize nodes around a quantized operator become scales of its tensors.
    return bool(node.meta.get("IS_IMPLICIT_Q_DQ_TAG"))


def _place(node: Node, origins: dict[str, Node]) -> tuple[str, str, str]:
    """Return module path, file and line, and the user's operator of one node."""
    origin = next((origins[name] for name in _ancestors(node) if name in origins), None)
    module, line, name = module_path(node.meta.get("nn_module_stack")), where(node), ""
    if origin is not None:
        module = module or module_path(origin.meta.get("nn_module_stack"))
        line = line or where(origin)
        name = user_operator(origin)
    return module, line, "" if _stem(name) == _stem(_name(node)) else name


def _ancestors(node: Node) -> list[str]:
    """Return the names of the nodes that a node was derived from, the oldest first."""
    names: list[str] = []
    sources = list(node.meta.get("from_node") or ())
    while sources:
        source = sources[0]
        names.append(source.name)
        sources = list(getattr(source, "from_node", ()) or ())
    return names[::-1]


def _stem(name: str) -> str:
    parts = name.split(".")
    return (parts[1] if len(parts) > 1 else name).removesuffix("_copy")
