"""Delegate coverage of a Core ML package on the Neural Engine.

On a Mac, Core ML's own planner is queried. Elsewhere, the rules that Apple documents predict it.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesdk.bundle.manifest import CoverageRecord
from edgesdk.converters.coverage.mil_graph import MilGraph, MilOperator, read_package
from edgesdk.converters.coverage.partitions import count_partitions
from edgesdk.converters.coverage.undelegated import Reason, Undelegated, gather
from edgesdk.errors import MissingBackendError, SessionError

__all__ = ["cover_coreml"]

_ENGINE = "Neural Engine"
_MOST_AXES = 5
_CAST_ENDING = re.compile(r"_(?:cast|to)_\w+?$")


def cover_coreml(path: Path, locations: Mapping[str, str] | None = None) -> CoverageRecord:
    """Determine which operators of an ML Program run on the Neural Engine, and why others do not.

    Args:
        path: A ``.mlpackage``.
        locations: File and line by name of a node of the converted, decomposed program.

    Returns:
        The record; its ``method`` names the planner or the prediction.

    Raises:
        SessionError: The file is not an ML Program, or Core ML refuses it.
        MissingBackendError: coremltools is not installed.
    """
    graph = read_package(path)
    places = dict(locations or {})
    if sys.platform == "darwin":
        return _record(graph, _query_planner(path, graph), places, "reported by Core ML's planner")
    return _record(
        graph,
        {operator.outputs[0]: _predict(graph, operator) for operator in graph.operators},
        places,
        "predicted from the package, without Core ML's planner",
    )


def _record(
    graph: MilGraph,
    verdicts: Mapping[str, tuple[Reason, str] | None],
    places: Mapping[str, str],
    method: str,
) -> CoverageRecord:
    taken: set[int] = set()
    found: list[Undelegated] = []
    for place, operator in enumerate(graph.operators):
        verdict = verdicts.get(operator.outputs[0])
        if verdict is None:
            taken.add(place)
        else:
            found.append(
                Undelegated(operator.name, *verdict, where=_place(operator.outputs[0], places))
            )
    return CoverageRecord(
        delegate=_ENGINE,
        method=method,
        delegated=dict(sorted(Counter(graph.operators[place].name for place in taken).items())),
        left=gather(found, "coreml"),
        partitions=count_partitions(graph.dependencies(), taken),
        complete=not found,
    )


def _predict(graph: MilGraph, operator: MilOperator) -> tuple[Reason, str] | None:
    types = [graph.types[name] for name in (*operator.inputs, *operator.outputs)]
    if any(len(kind.shape) > _MOST_AXES for kind in types):
        return "constraint", f"more than {_MOST_AXES} axes"
    # Casts convert the caller's float32 to float16 and run on the unit next to them.
    if operator.name != "cast" and any(kind.dtype == "fp32" for kind in types):
        # https://apple.github.io/coremltools/docs-guides/source/typed-execution-example.html
        return "dtype", "float32: typed float32 executes on GPU and CPU only"
    if not graph.enumerated and any(None in kind.shape for kind in types):
        # https://developer.apple.com/forums/thread/724930
        return "dynamic shape", (
            "for a range of shapes, the Neural Engine runs the default shape only; others run on "
            "GPU or CPU"
        )
    return None


def _query_planner(path: Path, graph: MilGraph) -> dict[str, tuple[Reason, str] | None]:
    try:
        import coremltools
        from coremltools.models.compute_plan import MLComputePlan
    except ImportError as error:
        raise MissingBackendError("coremltools", "coreml") from error
    try:
        compiled = coremltools.models.utils.compile_model(str(path))
    except RuntimeError as error:
        raise SessionError(f"Core ML refuses {path.name}: {error}") from error
    try:
        plan = MLComputePlan.load_from_path(compiled, coremltools.ComputeUnit.ALL)
        program = plan.model_structure.program
        if program is None:
            raise SessionError(f"{path.name} does not hold an ML Program")
        by_output = {operator.outputs[0]: operator for operator in graph.operators}
        verdicts: dict[str, tuple[Reason, str] | None] = {}
        for operation in program.functions["main"].block.operations:
            name = operation.outputs[0].name if operation.outputs else ""
            if name in by_output:
                usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
                verdicts[name] = _planner_reason(usage, _predict(graph, by_output[name]))
        return verdicts
    finally:
        shutil.rmtree(compiled, ignore_errors=True)


def _planner_reason(usage: Any, prediction: tuple[Reason, str] | None) -> tuple[Reason, str] | None:
    """Translate one answer of the planner; a matching documented rule gives the reason."""
    if usage is None:
        return "unknown", "the planner did not report where it runs"
    preferred = type(usage.preferred_compute_device).__name__
    supported = {type(device).__name__ for device in usage.supported_compute_devices}
    if preferred == "MLNeuralEngineComputeDevice":
        return None
    unit = "GPU" if preferred == "MLGPUComputeDevice" else "CPU"
    if "MLNeuralEngineComputeDevice" in supported:
        return "unknown", f"the Neural Engine could run it, but the planner prefers the {unit}"
    if prediction is not None:
        return prediction[0], f"runs on the {unit}; {prediction[1]}"
    return "not supported", f"the Neural Engine cannot run it, it runs on the {unit}"


def _place(name: str, places: Mapping[str, str]) -> str:
    """Return the line of the node that gave a variable its name, as ``relu_1`` in
    ``relu_1_cast_fp16``.

    Only suffixes of casts are removed: other suffixes may belong to another node.
    """
    while name not in places:
        shorter = _CAST_ENDING.sub("", name)
        if shorter == name:
            return ""
        name = shorter
    return places[name]
