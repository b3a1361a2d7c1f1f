"""Compare a quantized artefact with its simulation, and measure its accuracy drop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgesdk.bundle.manifest import (
    CalibrationRecord,
    DropRecord,
    IoScaleRecord,
    ParityRecord,
    QuantizationRecord,
    QuantizedLayerRecord,
)
from edgesdk.bundle.samples import Samples
from edgesdk.errors import QuantizationError
from edgesdk.exporter.context import ExportContext
from edgesdk.exporter.results import ConvertedArtefact
from edgesdk.host.cache import key_of
from edgesdk.host.own_code import code_digest
from edgesdk.runtime.session import Session
from edgesdk.verification.accuracy_drop import EvaluationSet, SampleLoss, measure_drop
from edgesdk.verification.int8_io import float_run
from edgesdk.verification.verify_bundle import verify_artefact

__all__ = [
    "NOT_SIMULATED",
    "PARITY_PRECISION",
    "QuantizedResult",
    "io_scales",
    "quantization_record",
    "verify_quantized",
]

#: Key of :data:`edgesdk.verification.parity.GATES` for quantized artefacts.
PARITY_PRECISION = "quantized"
#: The same without a simulation to compare with.
NOT_SIMULATED = "not simulated"


@dataclass(frozen=True)
class QuantizedResult:
    """Result of running a quantized artefact.

    Attributes:
        parity: Parity with the simulation, or with the float model without one.
        loss: Loss against the float model on the samples of parity; None if it did not run.
        drop: Drop against the float model on the evaluation set; None without one.
    """

    parity: ParityRecord
    loss: DropRecord | None = None
    drop: DropRecord | None = None


def io_scales(result: ConvertedArtefact) -> tuple[IoScaleRecord, ...]:
    """Return the scales of an artefact's int8 inputs and outputs."""
    quantized = result.conversion.quantized
    return tuple(
        IoScaleRecord(name=one.name, scale=one.scale, zero_point=one.zero_point)
        for one in (quantized.io_scales if quantized else ())
    )


def quantization_record(
    result: ConvertedArtefact, calibration: CalibrationRecord | None
) -> QuantizationRecord:
    """Return the manifest's record of a quantized artefact.

    Args:
        result: The artefact.
        calibration: Record of its calibration; None if it needed none.

    Raises:
        QuantizationError: The artefact was not quantized.
    """
    quantized, spec = result.conversion.quantized, result.spec
    if quantized is None or spec is None:
        raise QuantizationError(f"{result.target} was not quantized")
    weights: dict[int, int] = {}
    for layer in quantized.layers:
        weights[layer.bits] = weights.get(layer.bits, 0) + layer.weights
    return QuantizationRecord(
        recipe=spec.name,
        weights=dict(sorted(weights.items())),
        layers=[
            QuantizedLayerRecord.model_validate(dataclasses.asdict(layer))
            for layer in quantized.layers
        ],
        float_layers=list(spec.float_layers),
        float_norms=list(spec.float_norms),
        float_operators=dict(sorted(quantized.float_operators.items())),
        calibration=calibration,
        faces=list(io_scales(result)),
        drop=result.drop,
    )


def verify_quantized(
    context: ExportContext,
    result: ConvertedArtefact,
    samples: Samples,
    evaluation: EvaluationSet | None,
    *,
    bound: float | None,
    expected: Path,
    expected_sha256: str,
    facts: dict[str, object] | None = None,
    then: Callable[[Session], None] | None = None,
) -> QuantizedResult:
    """Run one quantized artefact in its runtime.

    Args:
        context: Values that all parts of the export share.
        result: The artefact, with the outputs of its simulation.
        samples: The samples of parity, with the float model's outputs.
        evaluation: Inputs for measuring the drop; None to skip that.
        bound: Largest drop allowed.
        expected: File of the inputs with the outputs of the simulation, or of the float model
            without one.
        expected_sha256: Digest of ``expected``.
        facts: Facts that decide the result besides artefact, samples and evaluation.
        then: Called with the session at the end, if one is opened.

    Raises:
        MissingEnvironmentError: The runtime is not installed.
        BundleDamagedError: The samples cannot be read.
    """
    precision = PARITY_PRECISION if result.simulated is not None else NOT_SIMULATED
    cache = context.cache
    key = key_of(
        {
            "kind": "quantized parity",
            "code": code_digest(),
            "artefact": result.sha256,
            "simulated": expected_sha256,
            "evaluation": evaluation.sha256 if evaluation else "",
            "gate": context.gates.gate(precision).model_dump(mode="json"),
            **(facts or {}),
        }
    )
    known = cache.get(key) if cache is not None else None
    if known is not None:
        loss, drop = (
            DropRecord.model_validate(known[name]) if known[name] else None
            for name in ("loss", "drop")
        )
        parity = ParityRecord.model_validate(known["parity"])
        return QuantizedResult(parity, loss, _with_bound(drop, bound))
    measured: list[DropRecord] = []
    sample_loss = SampleLoss(samples)
    scales = io_scales(result)

    def measure(session: Session) -> None:
        if evaluation is not None:
            measured.append(measure_drop(float_run(session.run, scales), evaluation))
        if then is not None:
            then(session)

    parity = verify_artefact(
        result.path,
        target=result.target,
        precision=precision,
        inputs=result.conversion.inputs,
        outputs=result.conversion.outputs,
        samples=Samples.load(expected),
        samples_sha256=expected_sha256,
        gates=context.gates,
        labels=context.labels,
        io_scales=scales,
        on_outputs=sample_loss.add,
        then=measure,
    )
    if result.simulated is None and parity.failure is None:
        parity = parity.model_copy(update={"note": not_simulated_note(result)})
    found = measured[0] if measured else None
    loss = sample_loss.record()
    if cache is not None and parity.failure is None:
        cache.put(
            key,
            {
                "parity": parity.model_dump(mode="json"),
                "loss": loss.model_dump(mode="json") if loss else None,
                "drop": found.model_dump(mode="json") if found else None,
            },
        )
    return QuantizedResult(parity, loss, _with_bound(found, bound))


def not_simulated_note(result: ConvertedArtefact) -> str:
    """Return the remark on an artefact that was compared with the float model."""
    quantized = result.conversion.quantized
    missing = ", ".join(quantized.not_simulated) if quantized else ""
    return f"run in its runtime alone: no simulation of {missing}; compared with the float model"


def _with_bound(drop: DropRecord | None, bound: float | None) -> DropRecord | None:
    if drop is None:
        return None
    return drop.model_copy(update={"bound": bound, "passed": bound is None or drop.drop <= bound})
