"""Delegate coverage of an ONNX model: CPU provider, measured; Core ML and NNAPI, predicted."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from edgesdk.bundle.manifest import CoverageRecord
from edgesdk.converters.coverage.onnx_graph import OnnxGraph, OnnxNode, read_onnx
from edgesdk.converters.coverage.onnx_providers import PROVIDERS, Provider, why_not
from edgesdk.converters.coverage.partitions import count_partitions
from edgesdk.converters.coverage.undelegated import Undelegated, gather
from edgesdk.errors import MissingBackendError, SessionError

__all__ = ["cover_onnx"]

_CPU = "CPUExecutionProvider"
# Messages of the runtime for an operator without kernel or definition.
_REFUSALS = (
    re.compile(r"Could not find an implementation for (?P<name>\w+)\(\d+\)"),
    re.compile(r"No Op registered for (?P<name>\w+)"),
    re.compile(r"error: [\w.]*:(?P<name>\w+)\(-?\d+\) is not a registered function/op"),
)


def cover_onnx(path: Path) -> CoverageRecord:
    """Determine which operators ONNX Runtime's CPU provider takes, and why it leaves the others.

    Args:
        path: A ``.onnx`` file; lines and modules come from the metadata of torch's exporter.

    Returns:
        The record; ``also`` holds predictions for the Core ML and the NNAPI provider.

    Raises:
        SessionError: The file is not an ONNX model, or the runtime refuses it for a reason other
            than an operator.
        MissingBackendError: ``onnx`` or ``onnxruntime`` is not installed.
    """
    graph = read_onnx(path)
    delegated, partitions, refused = _query_runtime(path, graph)
    undelegated = [
        _undelegated(node, "not supported", refused[node.operator])
        for node in graph.nodes
        if node.operator in refused
    ]
    return CoverageRecord(
        delegate=_CPU,
        method="the session reported the provider of each node"
        if not refused
        else "the session refused the model and named the operator",
        delegated=delegated,
        left=gather(undelegated, "onnx"),
        partitions=partitions,
        complete=not undelegated,
        also=[_predict(graph, provider) for provider in PROVIDERS],
    )


def _undelegated(node: OnnxNode, reason: Any, detail: str) -> Undelegated:
    return Undelegated(node.operator, reason, detail, node.module, node.where, node.origin)


def _query_runtime(path: Path, graph: OnnxGraph) -> tuple[dict[str, int], int, dict[str, str]]:
    """Return operator counts by name, the number of partitions, and the missing operators."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise MissingBackendError("onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # Fusions would hide the operators of the file.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[_CPU])
    except (state.Fail, state.InvalidGraph, state.NotImplemented) as error:
        for pattern in _REFUSALS:
            match = pattern.search(str(error))
            if match:
                words = str(error).rpartition(" : ")[2]
                return {}, 0, {match["name"]: words}
        raise _refusal(path, error) from error
    except (state.InvalidArgument, state.InvalidProtobuf, state.NoSuchFile) as error:
        raise _refusal(path, error) from error
    counts = Counter(
        node.op_type
        for piece in session.get_provider_graph_assignment_info()
        if piece.ep_name == _CPU
        for node in piece.get_nodes()
    )
    return dict(sorted(counts.items())), 1 if graph.nodes else 0, {}


def _refusal(path: Path, error: Exception) -> SessionError:
    return SessionError(
        f"ONNX Runtime refuses {path.name}: {str(error).splitlines()[0]}",
        remedy="check the file with onnx.checker; external weights must lie beside it",
    )


def _predict(graph: OnnxGraph, provider: Provider) -> CoverageRecord:
    taken: set[int] = set()
    undelegated: list[Undelegated] = []
    rules = provider.rules()
    for place, node in enumerate(graph.nodes):
        verdict = why_not(provider, rules, graph, node)
        if verdict is None:
            taken.add(place)
        else:
            undelegated.append(_undelegated(node, *verdict))
    return CoverageRecord(
        delegate=provider.name,
        method="predicted from ONNX Runtime's list of supported operators for this provider; "
        "conditions are checked as far as the file allows",
        delegated=dict(sorted(Counter(graph.nodes[place].operator for place in taken).items())),
        left=gather(undelegated, provider.target),
        partitions=count_partitions(graph.dependencies(), taken),
        complete=not undelegated,
    )
