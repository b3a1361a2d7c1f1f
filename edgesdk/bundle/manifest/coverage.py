"""Records of delegate coverage: operators that the accelerator runs."""

from __future__ import annotations

from typing import Literal

from edgesdk.bundle.manifest.record import Items, Record, Text

__all__ = ["CoverageRecord", "UndelegatedOperator"]


class UndelegatedOperator(Record):
    """An operator that the delegate does not run.

    Attributes:
        operator: Name in the artefact.
        count: Number of occurrences with the same reason and place.
        reason: ``not supported``, ``dynamic shape``, ``dtype``, ``partition too small``,
            ``constraint`` or ``unknown``.
        detail: Explanation by the delegate or the SDK.
        module: Path of the module in the user's model.
        where: File and line in the user's code.
        rewrite: Known equivalent that the delegate runs.
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
    """Delegate coverage: operators that the accelerator runs and operators it does not.

    Attributes:
        delegate: Name of the delegate or execution provider.
        method: Origin of the figures: read from the artefact, asked of the runtime, or predicted.
        delegated: Number of delegated operators by name.
        left: Operators not delegated, with reasons.
        partitions: Number of delegated partitions.
        complete: True if every computing operator is delegated.
        planned_bytes: Activation memory the artefact plans, if it states it.
        also: Coverage by further delegates of the same artefact (Core ML or NNAPI for ONNX).
    """

    delegate: str
    method: Text = ""
    delegated: dict[str, int] = {}
    left: Items[UndelegatedOperator] = []
    partitions: int = 0
    complete: bool = False
    planned_bytes: int | None = None
    also: Items[CoverageRecord] = []
