"""The bounds that the user sets in place of the default ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgesdk.bundle.manifest import GateRecord
from edgesdk.errors import UsageError
from edgesdk.parity import gate_for

__all__ = ["GateOptions"]


@dataclass(frozen=True)
class GateOptions:
    """Bounds in place of the default ones; see :func:`edgesdk.parity.gate_for`.

    Raises:
        UsageError: A bound out of its range.
    """

    cosine: float | None = None
    relative_error: float | None = None
    agreement: float | None = None

    def __post_init__(self) -> None:
        # A manifest holds finite numbers only, and a gate that all pass is none.
        if self.relative_error is not None and math.isinf(self.relative_error):
            raise UsageError(
                f"the gate for relative error cannot be {self.relative_error}",
                remedy="give a share of the output's range, such as 0.01",
            )
        self.gate("fp32")

    def gate(self, precision: str) -> GateRecord:
        """The gate of an artefact of this precision."""
        return gate_for(
            precision,
            cosine=self.cosine,
            relative_error=self.relative_error,
            agreement=self.agreement,
        )
