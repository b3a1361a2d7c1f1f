"""Find the first operator at which an ONNX file differs from a fresh conversion of its program.

If an artefact is wrong but its converter is right, the file was altered, or made by another
version. Both files run with every intermediate value as an output; the first different value names
the operator.
"""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.bundle.manifest import ArtefactRecord, GateRecord, OutputParity
from edgesdk.frontend.provenance import PREPROCESSING, module_path, where
from edgesdk.runtime.isolated import open_isolated
from edgesdk.verification.parity import OutputComparison, meets

__all__ = ["AlteredValue", "first_altered_value"]

_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class AlteredValue:
    """The first value that differs.

    Attributes:
        operator: ONNX operator that computes it.
        name: Name of the value.
        module: Module path in the user's model.
        where: File and line in the user's model.
        parity: Difference from the fresh conversion.
    """

    operator: str
    name: str
    module: str
    where: str
    parity: OutputParity


def _tapped(path: Path, folder: Path) -> tuple[Path, list[Any]]:
    import onnx

    # Outputs need a type, and the file may declare values without one.
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    typed = {
        value.name: value
        for value in model.graph.value_info
        if value.type.WhichOneof("value") == "tensor_type"
    }
    given = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name in typed and name not in given:
                model.graph.output.append(typed[name])
                given.add(name)
    not_outputs = [value for name, value in typed.items() if name not in given]
    del model.graph.value_info[:]
    model.graph.value_info.extend(not_outputs)
    written = folder / f"tapped-{path.name}"
    onnx.save(model, written)
    return written, list(model.graph.node)


def _values(
    path: Path, artefact: ArtefactRecord, inputs: Mapping[str, np.ndarray], timeout: float
) -> dict[str, np.ndarray]:
    with open_isolated(path, inputs=artefact.inputs, timeout=timeout) as session:
        return session.run(inputs)


def first_altered_value(
    given: Path,
    again: Path,
    artefact: ArtefactRecord,
    inputs: Mapping[str, np.ndarray],
    gate: GateRecord,
    nodes: Mapping[str, Any],
    timeout: float,
) -> AlteredValue | None:
    """Compare an ONNX artefact with a fresh conversion of its program, value by value.

    Args:
        given: The artefact.
        again: The fresh conversion.
        artefact: Record of the artefact.
        inputs: Sample to run both on.
        gate: Bounds within which values count as equal.
        nodes: Nodes of the captured program by name.
        timeout: Seconds for one inference.

    Returns:
        The first difference in the order of execution; None if the graphs differ or all values are
        equal.

    Raises:
        SessionError: The runtime refuses one of the files.
    """
    with tempfile.TemporaryDirectory(prefix="edgesdk-altered-") as folder:
        tapped, ours = _tapped(given, Path(folder))
        fresh, theirs = _tapped(again, Path(folder))
        kinds = [[(node.op_type, list(node.output)) for node in graph] for graph in (ours, theirs)]
        if kinds[0] != kinds[1]:
            return None
        found = _values(tapped, artefact, inputs, timeout)
        wanted = _values(fresh, artefact, inputs, timeout)
    for node in theirs:
        for name in node.output:
            if name not in found or name not in wanted:
                continue
            comparison = OutputComparison(name)
            comparison.add(wanted[name], found[name])
            record = comparison.record()
            if not meets(record, gate):
                module, place = _origin(node, nodes)
                return AlteredValue(node.op_type, name, module, place, record)
    return None


def _origin(node: Any, nodes: Mapping[str, Any]) -> tuple[str, str]:
    """Return module path and line of an ONNX node, from the exporter's metadata."""
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    scopes = ast.literal_eval(metadata.get(_SCOPES, "[]"))
    if not isinstance(scopes, list) or not scopes:
        return "", ""
    path = str(scopes[-2]) if len(scopes) > 1 else ""
    by_name = nodes.get(str(scopes[-1]))
    if by_name is not None:
        place = where(by_name)
        return "" if place == PREPROCESSING else path, place
    for candidate in nodes.values():
        inside = module_path(candidate.meta.get("nn_module_stack"))
        if candidate.op == "call_function" and path and inside == path:
            return path, where(candidate)
    return path, ""
