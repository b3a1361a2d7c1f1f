"""Records of delegate coverage: which operators the accelerator takes."""

from __future__ import annotations

from typing import Literal

from edgesdk.bundle.manifest.record import Items, Record, Text

__all__ = ["CoverageRecord", "LeftOperator"]


class LeftOperator(Record):
    """An operator that the delegate did not take.

    Attributes:
        operator: Its name in the artefact.
        count: How often, for the same reason at the same place.
        reason: ``not supported``, ``dynamic shape``, ``dtype``, ``partition too small``,
            ``constraint`` or ``unknown``.
        detail: The delegate's own words or ours.
        module: Path of the module in the user's model.
        where: File and line in the user's code.
        rewrite: The known form that the delegate takes.
    """

    operator: str
    count: int = 1
    reason: Literal[
        "not supported", "dynamic shape", "dtype", "partition too small", "constraint", "unknown"
    ]
    detail: Text = ""
    module: Text = ""
    where: Text = ""
    rewrite: Text = ""


class CoverageRecord(Record):
    """Delegate coverage: which operators the accelerator took and which it left.

    Attributes:
        delegate: Name of the delegate or execution provider.
        method: How this was found out: read from the artefact, asked of the runtime, or predicted.
        delegated: Operators taken, by name with count.
        left: Operators left, with reasons.
        partitions: Number of delegated pieces.
        complete: Whether everything that computes was taken.
        planned_bytes: Memory the artefact plans for its activations, where it says so.
        also: Coverage by further delegates of the same artefact (Core ML or NNAPI for ONNX).
    """

    delegate: str
    method: Text = ""
    delegated: dict[str, int] = {}
    left: Items[LeftOperator] = []
    partitions: int = 0
    complete: bool = False
    planned_bytes: int | None = None
    also: Items[CoverageRecord] = []
