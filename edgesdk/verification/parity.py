"""Differences between the outputs of an artefact and its model, and the gates on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgesdk.bundle.manifest import (
    ArtefactRecord,
    FailureRecord,
    GateRecord,
    Manifest,
    OutputParity,
    artefact_name,
)
from edgesdk.errors import EdgeSdkError, GateError, UnknownNameError, UsageError

__all__ = [
    "GATES",
    "PHONE_ONLY",
    "OutputComparison",
    "Tolerances",
    "classifies",
    "gate_for",
    "meets",
    "require_parity",
]

#: Backends of ExecuTorch that run on phones only.
PHONE_ONLY = ("executorch:vulkan", "executorch:coreml")

#: Default gates by precision. Reordered float32 arithmetic stays well inside the first; the second
#: allows for half-precision weights. Quantized artefacts are compared with the simulated quantized
#: network, where a value on the edge of a step may round either way.
GATES: dict[str, GateRecord] = {
    "fp32": GateRecord(cosine=0.9999, relative_error=1e-3),
    "fp16": GateRecord(cosine=0.999, relative_error=2e-2),
    "quantized": GateRecord(cosine=0.999, relative_error=1e-1),
    # Quantized and without simulation: the difference from the float model is the loss.
    "not simulated": GateRecord(cosine=0.9, relative_error=1.0),
}


def gate_for(
    precision: str,
    *,
    cosine: float | None = None,
    relative_error: float | None = None,
    agreement: float | None = None,
) -> GateRecord:
    """Return the gate of a precision, with the user's bounds in place of the default ones.

    Args:
        precision: Key of :data:`GATES`.
        cosine: Smallest cosine similarity, in -1..1.
        relative_error: Largest difference as a share of the output's range, at least 0.
        agreement: Smallest share of samples with the same top-1 class, 0..1.

    Raises:
        UnknownNameError: The precision is unknown.
        UsageError: A bound is out of range.
    """
    if precision not in GATES:
        raise UnknownNameError("precision", precision, GATES)
    for name, value, low, high in (
        ("cosine", cosine, -1.0, 1.0),
        ("relative error", relative_error, 0.0, math.inf),
        ("agreement", agreement, 0.0, 1.0),
    ):
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise UsageError(
                f"invalid gate for {name}: {value}",
                remedy=f"give a number of {low:g} to {high:g}"
                if math.isfinite(high)
                else f"give a number of at least {low:g}",
            )
    default = GATES[precision]
    return GateRecord(
        cosine=default.cosine if cosine is None else cosine,
        relative_error=default.relative_error if relative_error is None else relative_error,
        agreement=default.agreement if agreement is None else agreement,
    )


def classifies(shape: Sequence[int]) -> bool:
    """Return True if the shape is that of class scores: ``[batch, classes]``."""
    return len(shape) == 2 and shape[1] >= 2


def _scaled(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Divide values by the largest magnitude, so that squares neither overflow nor underflow."""
    scale = float(np.max(np.abs(values), initial=0))
    return (values.ravel() / scale if scale else values.ravel()), scale


def _cosine(expected: np.ndarray, actual: np.ndarray) -> float:
    (a, a_scale), (b, b_scale) = _scaled(expected), _scaled(actual)
    if a_scale == 0 or b_scale == 0:
        return 1.0 if a_scale == b_scale else 0.0
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return min(1.0, max(-1.0, float(np.dot(a, b)) / norms))


def _decibels(values: np.ndarray) -> float:
    """Return the energy in dB of values that are not all zero."""
    shares, scale = _scaled(values)
    return 20 * (math.log10(float(np.linalg.norm(shares))) + math.log10(scale))


@dataclass
class OutputComparison:
    """Comparison of one output over any number of samples.

    Attributes:
        name: Name of the output.
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
            actual: The artefact's output. Another shape counts as entirely different, and so do NaN
                and infinity in either.
        """
        self._samples += 1
        if actual.shape != expected.shape:
            self._max_abs, self._cosine, self._snr_db = math.inf, -1.0, -math.inf
            return
        wide, other = expected.astype(np.float64), actual.astype(np.float64)
        if wide.size == 0:
            return
        measurable = bool(np.isfinite(wide).all())
        if measurable:
            self._low = min(self._low, float(wide.min()))
            self._high = max(self._high, float(wide.max()))
        if not np.isfinite(other).all():
            self._finite = measurable = False
        if not measurable:
            self._max_abs = math.inf
            return
        with np.errstate(over="ignore"):
            difference = wide - other
        worst = float(np.abs(difference).max())
        self._max_abs = max(self._max_abs, worst)
        if math.isinf(worst):
            return
        # Rounding would give even an exact copy a cosine just below 1.
        if worst > 0:
            self._cosine = min(self._cosine, _cosine(wide, other))
            ratio = _decibels(wide) - _decibels(difference) if wide.any() else -math.inf
            self._snr_db = min(self._snr_db, ratio)
        if classifies(expected.shape):
            self._rows += expected.shape[0]
            self._same += int(np.sum(wide.argmax(axis=1) == other.argmax(axis=1)))

    def record(self) -> OutputParity:
        """Return the worst values over all samples so far; None without samples."""
        span = self._high - self._low if self._high >= self._low else 0.0
        known = self._samples > 0 and math.isfinite(self._max_abs)
        if math.isinf(span):
            span, known = float(np.finfo(np.float64).max), False
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
    """Return True if an output is within the gate, False if it could not be measured."""
    if output.cosine is None or output.relative_error is None:
        return False
    if output.cosine < gate.cosine or output.relative_error > gate.relative_error:
        return False
    return not (
        gate.agreement is not None
        and output.agreement is not None
        and output.agreement < gate.agreement
    )


@dataclass(frozen=True)
class Tolerances:
    """Bounds on parity that replace the default ones; see :func:`gate_for`.

    Raises:
        UsageError: A bound is out of range.
    """

    cosine: float | None = None
    relative_error: float | None = None
    agreement: float | None = None

    def __post_init__(self) -> None:
        # Manifests hold finite numbers, and a gate that everything passes would be meaningless.
        if self.relative_error is not None and math.isinf(self.relative_error):
            raise UsageError(
                f"invalid gate for relative error: {self.relative_error}",
                remedy="give a share of the output's range, such as 0.01",
            )
        self.gate("fp32")

    def gate(self, precision: str) -> GateRecord:
        """Return the gate for artefacts of a precision."""
        return gate_for(
            precision,
            cosine=self.cosine,
            relative_error=self.relative_error,
            agreement=self.agreement,
        )


def _missed(output: OutputParity, gate: GateRecord) -> str:
    """Describe the bounds that an output misses."""
    if not output.finite:
        return f"output {output.name!r} holds NaN or infinity"
    if output.cosine is None or output.relative_error is None:
        return f"output {output.name!r} has another shape than the model's"
    missed = []
    if output.cosine < gate.cosine:
        missed.append(f"cosine {output.cosine:.6g}, the gate is {gate.cosine:g}")
    if output.relative_error > gate.relative_error:
        missed.append(
            f"off by {output.relative_error:.2g} of its range, the gate is {gate.relative_error:g}"
        )
    if (
        gate.agreement is not None
        and output.agreement is not None
        and output.agreement < gate.agreement
    ):
        missed.append(f"top-1 agreement {output.agreement:g}, the gate is {gate.agreement:g}")
    return f"output {output.name!r}: " + "; ".join(missed)


def _shortfall(artefact: ArtefactRecord) -> str:
    parity = artefact.parity
    name = artefact_name(artefact.target, artefact.quantization)
    if parity is None:
        return f"{name}: not verified"
    if parity.failure is not None:
        return f"{name}: {parity.failure}"
    gate = parity.gate
    missed = [_missed(output, gate) for output in parity.outputs if not meets(output, gate)]
    return f"{name}: " + "\n".join(missed)


def _failure(failure: FailureRecord) -> str:
    return f"{failure.target}: " + str(
        EdgeSdkError(failure.message, where=failure.where, remedy=failure.remedy)
    )


def require_parity(manifest: Manifest, *, allow_failures: bool = False) -> None:
    """Check that every artefact of a manifest passed its gates.

        bundle = edgesdk.export("mobilenet_v2", targets="onnx")
        require_parity(bundle.manifest)

    Args:
        manifest: Manifest with parity records.
        allow_failures: True to accept targets that failed to convert.

    Raises:
        GateError: An artefact did not pass or was not verified, or a target failed to convert.
    """
    short = [
        artefact
        for artefact in manifest.artefacts
        if (artefact.parity is None or not artefact.parity.passed)
        and artefact.target not in PHONE_ONLY
    ]
    failed = [] if allow_failures else manifest.failures
    findings = [*map(_shortfall, short), *map(_failure, failed)]
    if not findings:
        return
    count = len(manifest.artefacts) + len(failed)
    simulated = any(artefact.simulated is not None for artefact in manifest.artefacts)
    reference = "the model, or to their simulation" if simulated else "the model"
    ran = any(artefact.parity and artefact.parity.outputs for artefact in short)
    raise GateError(
        f"{len(findings)} of {count} target{'s' * (count > 1)} not proven equal to {reference}\n  "
        + "\n".join(findings).replace("\n", "\n  "),
        remedy="`edgesdk verify BUNDLE --bisect` finds the first operator that differs"
        if ran
        else None,
    )
