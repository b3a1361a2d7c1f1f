"""Limits of Apple's Core ML compiler that its converter does not check.

The converter runs anywhere and the compiler on Apple's systems alone: a package beyond one of these
limits is written, and refused on the phone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgesdk.errors import SessionError
from edgesdk.runtime.mil.program import MilProgram

__all__ = ["require_compilable"]

_MOST_AXES = 5
# coremltools issues 2571 and 2576, "Padding for more than two dimensions only supports constant
# mode", and what pull request 2701 found to be the rule.
_PADDED_AXES = 2


def require_compilable(program: MilProgram) -> None:
    """Check a program against the known limits.

    Raises:
        SessionError: Apple's compiler refuses an operator; names it and the limit.
    """
    for operation in _operations(program.function):
        fault = _padding_fault(operation) or _rank_fault(operation)
        if fault is not None:
            reason, remedy = fault
            name = operation.outputs[0].name if operation.outputs else operation.name
            raise SessionError(
                f"Apple's compiler refuses {operation.op_type} {name!r} of {program.path.name}: "
                f"{reason}",
                remedy=remedy,
            )


def _operations(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        if operation.op_type != "const":
            yield operation
        for nested in operation.blocks:
            yield from _operations(nested)


def _padding_fault(operation: Any) -> tuple[str, str] | None:
    if operation.op_type != "pad":
        return None
    mode = "constant" if operation.mode is None else str(operation.mode.val)
    sides = None if operation.pad is None else operation.pad.val
    if mode == "constant" or sides is None:
        return None
    if not sides.reshape(-1, 2)[:-_PADDED_AXES].any():
        return None
    return (
        f"mode {mode!r} pads the last {_PADDED_AXES} axes only",
        "transpose an axis to the end to pad it, or join slices with torch.cat",
    )


def _rank_fault(operation: Any) -> tuple[str, str] | None:
    ranks = [getattr(output, "rank", 0) for output in operation.outputs]
    most = max((rank for rank in ranks if rank is not None), default=0)
    if most <= _MOST_AXES:
        return None
    return (
        f"a tensor of {most} axes, at most {_MOST_AXES} are possible",
        "merge axes with reshape() until five remain",
    )
