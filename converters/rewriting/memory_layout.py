"""Weights in the usual order of memory: ``channels_last`` is a speed-up of training."""

from __future__ import annotations

from torch import Tensor
from torch.export import ExportedProgram

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting.surgery import Surgery

__all__ = ["plain_layout"]

_REASON = "the target stores weights in the usual order of memory"


def plain_layout(program: ExportedProgram) -> tuple[ExportedProgram, tuple[Rewrite, ...]]:
    """Store weights contiguously.

    Args:
        program: Not changed.

    Returns:
        The program itself where all are contiguous, else a copy; and the rewrite made.
    """
    odd = [
        name
        for name, value in program.state_dict.items()
        if isinstance(value, Tensor) and not value.is_contiguous()
    ]
    if not odd:
        return program, ()
    surgery = Surgery(program)
    surgery.make_contiguous(odd)
    more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
    return surgery.finished(), (Rewrite(f"weights {odd[0]}{more}", "", "", _REASON),)
