"""How far an artefact's outputs are from the model's, in numbers, and the gates they must meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgesdk.errors import UsageError
from edgesdk.manifest import GateRecord, OutputParity

__all__ = ["GATES", "OutputComparison", "classifies", "gate_for", "meets"]

#: Default gates by precision. A model's own arithmetic in another order stays well inside the
#: first; half-precision weights alone cost what the second allows.
GATES: dict[str, GateRecord] = {
    "fp32": GateRecord(cosine=0.9999, relative_error=1e-3),
    "fp16": GateRecord(cosine=0.999, relative_error=2e-2),
}


def gate_for(
    precision: str,
    *,
    cosine: float | None = None,
    relative_error: float | None = None,
    agreement: float | None = None,
) -> GateRecord:
    """The gate of a precision, with the bounds the user set in place of the default ones.

    Args:
        precision: Key of :data:`GATES`.
        cosine: Smallest cosine similarity, in -1..1.
        relative_error: Largest difference as a share of the output's range, at least 0.
        agreement: Smallest share of samples with the same top-1 class, 0..1.

    Raises:
        UsageError: A bound outside its range.
    """
    for name, value, low, high in (
        ("cosine", cosine, -1.0, 1.0),
        ("relative error", relative_error, 0.0, math.inf),
        ("agreement", agreement, 0.0, 1.0),
    ):
        if value is not None and not low <= value <= high:
            raise UsageError(f"the gate for {name} cannot be {value}")
    default = GATES[precision]
    return GateRecord(
        cosine=default.cosine if cosine is None else cosine,
        relative_error=default.relative_error if relative_error is None else relative_error,
        agreement=default.agreement if agreement is None else agreement,
    )


def classifies(shape: Sequence[int]) -> bool:
    """Whether an output of this shape looks like one score a class: ``[batch, classes]``."""
    return len(shape) == 2 and shape[1] >= 2


def _cosine(expected: np.ndarray, actual: np.ndarray) -> float:
    # Scaling by the largest value first keeps squares of huge outputs finite.
    scale = max(
        float(np.max(np.abs(expected), initial=0)), float(np.max(np.abs(actual), initial=0))
    )
    if scale == 0:
        return 1.0
    a, b = expected.ravel() / scale, actual.ravel() / scale
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return 0.0
    return min(1.0, max(-1.0, float(np.dot(a, b)) / norms))


@dataclass
class OutputComparison:
    """One output compared over any number of samples.

    Attributes:
        name: Output name.
    """

    name: str
    _max_abs: float = 0.0
    _low: float = math.inf
    _high: float = -math.inf
    _cosine: float = 1.0
    _snr_db: float = math.inf
    _rows: int = 0
    _same: int = 0
    _finite: bool = True
    _samples: int = field(default=0)

    def add(self, expected: np.ndarray, actual: np.ndarray) -> None:
        """Compare one sample.

        Args:
            expected: The model's output.
            actual: The artefact's output; another shape counts as wholly different.
        """
        self._samples += 1
        if actual.shape != expected.shape:
            self._max_abs, self._cosine, self._snr_db = math.inf, -1.0, -math.inf
            return
        wide, other = expected.astype(np.float64), actual.astype(np.float64)
        if wide.size == 0:
            return
        self._low = min(self._low, float(wide.min()))
        self._high = max(self._high, float(wide.max()))
        if not np.isfinite(other).all():
            self._finite = False
            return
        difference = wide - other
        self._max_abs = max(self._max_abs, float(np.abs(difference).max()))
        self._cosine = min(self._cosine, _cosine(wide, other))
        noise = float(np.sum(difference**2))
        if noise > 0:
            signal = float(np.sum(wide**2))
            ratio = 10 * math.log10(signal / noise) if signal > 0 else -math.inf
            self._snr_db = min(self._snr_db, ratio)
        if classifies(expected.shape):
            self._rows += expected.shape[0]
            self._same += int(np.sum(wide.argmax(axis=1) == other.argmax(axis=1)))

    def record(self) -> OutputParity:
        """The worst over all samples so far."""
        span = self._high - self._low if self._high >= self._low else 0.0
        known = self._finite and math.isfinite(self._max_abs)
        relative = self._max_abs / span if span > 0 else self._max_abs
        return OutputParity(
            name=self.name,
            max_abs=self._max_abs if known else None,
            range=span,
            relative_error=relative if known else None,
            cosine=self._cosine if known else None,
            snr_db=self._snr_db if known and math.isfinite(self._snr_db) else None,
            agreement=self._same / self._rows if known and self._rows else None,
            finite=self._finite,
        )


def meets(output: OutputParity, gate: GateRecord) -> bool:
    """Whether one output is within the gate. What could not be measured is not."""
    if output.cosine is None or output.relative_error is None:
        return False
    if output.cosine < gate.cosine or output.relative_error > gate.relative_error:
        return False
    return not (
        gate.agreement is not None
        and output.agreement is not None
        and output.agreement < gate.agreement
    )
