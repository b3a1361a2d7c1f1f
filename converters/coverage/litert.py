"""Delegate coverage of a LiteRT model: XNNPACK, measured, and the GPU delegate, predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesdk.bundle.manifest import CoverageRecord
from edgesdk.converters.coverage.litert_graph import LitertGraph, Operator, read_graph
from edgesdk.converters.coverage.litert_reasons import why_not_gpu, why_not_xnnpack
from edgesdk.converters.coverage.naming import user_operator
from edgesdk.converters.coverage.partitions import count_partitions
from edgesdk.converters.coverage.undelegated import Reason, Undelegated, gather
from edgesdk.errors import MissingBackendError, SessionError
from edgesdk.frontend.provenance import PREPROCESSING, is_preprocessing, module_path, where

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["cover_litert"]


def cover_litert(path: Path, program: ExportedProgram | None = None) -> CoverageRecord:
    """Determine which operators XNNPACK takes, and why it leaves the others.

    The interpreter reports which operators it replaced, but not why it left the others; the reasons
    are deduced from the model.

    Args:
        path: A ``.tflite`` file.
        program: Program it was converted from, with the user's modules and lines; the file names
            only the innermost modules.

    Returns:
        The record; ``also`` holds the prediction for the GPU delegate.

    Raises:
        SessionError: The file is not a LiteRT model, or the interpreter refuses it.
        MissingBackendError: ``ai_edge_litert`` is not installed.
    """
    graph = read_graph(path)
    boundaries = _delegate_nodes(path)
    taken = _inside(graph, boundaries)
    types = {graph.operators[place].name for place in taken}
    places = _Places(program)

    def undelegated_by(
        find_reason: Callable[[Operator], tuple[Reason, str] | None],
    ) -> list[Undelegated]:
        found = []
        for operator in graph.operators:
            verdict = find_reason(operator)
            if verdict is not None:
                found.append(Undelegated(operator.name, *verdict, *places.locate(graph, operator)))
        return found

    undelegated = undelegated_by(
        lambda operator: (
            None if operator.index in taken else why_not_xnnpack(graph, operator, types)
        )
    )
    return CoverageRecord(
        delegate="xnnpack",
        method="the interpreter reported which operators it replaced; the reasons are deduced "
        "from the model",
        delegated=_counts(graph, taken),
        left=gather(undelegated, "litert:xnnpack"),
        partitions=len(boundaries),
        complete=not undelegated,
        also=[_predict_gpu(graph, undelegated_by)],
    )


def _predict_gpu(
    graph: LitertGraph, undelegated_by: Callable[..., list[Undelegated]]
) -> CoverageRecord:
    taken = {operator.index for operator in graph.operators if why_not_gpu(graph, operator) is None}
    undelegated = undelegated_by(lambda operator: why_not_gpu(graph, operator))
    return CoverageRecord(
        delegate="gpu",
        method="predicted from the operators that TensorFlow Lite's GPU delegate documents; not "
        "run on a GPU",
        delegated=_counts(graph, taken),
        left=gather(undelegated, "litert:gpu"),
        partitions=count_partitions(graph.dependencies(), taken),
        complete=not undelegated,
    )


def _counts(graph: LitertGraph, taken: set[int]) -> dict[str, int]:
    return dict(sorted(Counter(graph.operators[place].name for place in taken).items()))


def _delegate_nodes(path: Path) -> list[tuple[set[int], list[int]]]:
    """Return the input and output tensors of every delegate node."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingBackendError("ai_edge_litert", "litert") from error
    try:
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        details = interpreter._get_ops_details()
    except (RuntimeError, ValueError) as error:
        raise SessionError(
            f"the LiteRT interpreter refuses {path.name}: {str(error).splitlines()[0]}",
            remedy="usually an operator has no kernel: see the converter's log",
        ) from error
    return [
        ({int(i) for i in node["inputs"]}, [int(i) for i in node["outputs"]])
        for node in details
        if node["op_name"] == "DELEGATE"
    ]


def _inside(graph: LitertGraph, boundaries: list[tuple[set[int], list[int]]]) -> set[int]:
    """Return the operators between the inputs and the outputs of the delegate nodes."""
    producers = graph.producers()
    inside: set[int] = set()
    for inputs, outputs in boundaries:
        open_tensors = list(outputs)
        while open_tensors:
            tensor = open_tensors.pop()
            place = producers.get(tensor)
            if tensor in inputs or place is None or place in inside:
                continue
            inside.add(place)
            open_tensors.extend(graph.operators[place].inputs)
    return inside


class _Places:
    """Map operators to the user's module, line and operator by the names of their tensors.

    The converter builds tensor names from module classes and module names. Names built in the same
    way from the program's nodes match them.
    """

    def __init__(self, program: ExportedProgram | None) -> None:
        self._modules: dict[str, set[str]] = {}
        self._lines: dict[str, set[str]] = {}
        self._operators: dict[str, set[str]] = {}
        self._takes_bytes = False
        for node in program.graph.nodes if program is not None else ():
            if node.op != "call_function":
                continue
            stack = node.meta.get("nn_module_stack") or {}
            self._takes_bytes |= is_preprocessing(stack)
            key = "/".join(_layer(*entry) for entry in stack.values())
            self._modules.setdefault(key, set()).add(module_path(stack))
            self._lines.setdefault(key, set()).add(where(node))
            self._operators.setdefault(key, set()).add(user_operator(node))

    def locate(self, graph: LitertGraph, operator: Operator) -> tuple[str, str, str]:
        taken = {graph.tensors[tensor].dtype for tensor in operator.inputs}
        if self._takes_bytes and operator.name == "CAST" and taken == {"UINT8"}:
            # The conversion of camera bytes; its tensors have no module in their names.
            return "", PREPROCESSING, ""
        for tensor in operator.outputs:
            # Fused operators have several names; the last is that of the operator itself.
            names = [part for part in graph.tensors[tensor].name.split(";") if "." in part]
            if names:
                key = names[-1]
                # Several lines of one module cannot be distinguished.
                return (
                    _only(self._modules.get(key, set())) or _shortened(key),
                    _only(self._lines.get(key, set())),
                    _only(self._operators.get(key, set())),
                )
        return "", "", ""


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""


def _layer(path: str, kind: Any) -> str:
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return f"{name}_{path.rpartition('.')[2]}" if path else name


def _shortened(key: str) -> str:
    """Shorten ``net.Net/net.Block_0/torch.nn.modules.conv.Conv2d_conv`` to
    ``Block_0/Conv2d_conv``."""
    return "/".join(layer.rpartition(".")[2] for layer in key.split("/")[1:])
