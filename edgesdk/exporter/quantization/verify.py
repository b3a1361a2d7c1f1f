"""Prove a quantized artefact: equal to its simulation, and how far from the float model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

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
from edgesdk.exporter.results import ConvertedArtefact
from edgesdk.host.cache import Cache, key_of
from edgesdk.host.own_code import code_digest
from edgesdk.runtime.session import Session
from edgesdk.verification.accuracy_drop import EvaluationSet, measure_drop
from edgesdk.verification.int8_io import float_run
from edgesdk.verification.parity import Tolerances
from edgesdk.verification.verify_bundle import verify_artefact

__all__ = ["PARITY_PRECISION", "face_scales", "quantization_record", "verify_quantized"]

#: Which of :data:`edgesdk.verification.parity.GATES` a quantized artefact is held to.
PARITY_PRECISION = "quantized"


def face_scales(result: ConvertedArtefact) -> tuple[IoScaleRecord, ...]:
    """Scales of the int8 inputs and outputs of an artefact."""
    quantized = result.conversion.quantized
    faces = quantized.io_scales if quantized else ()
    return tuple(
        IoScaleRecord(name=face.name, scale=face.scale, zero_point=face.zero_point)
        for face in faces
    )


def quantization_record(
    result: ConvertedArtefact, calibration: CalibrationRecord | None
) -> QuantizationRecord:
    """What the manifest says of a quantized artefact.

    Args:
        result: The artefact.
        calibration: Where its ranges come from; None where it needed none.

    Raises:
        QuantizationError: It was not quantized.
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
        faces=list(face_scales(result)),
        drop=result.drop,
    )


def verify_quantized(
    result: ConvertedArtefact,
    evaluation: EvaluationSet | None,
    *,
    bound: float | None,
    gates: Tolerances,
    simulated_sha256: str,
    labels: str | Sequence[str] = "",
    cache: Cache | None = None,
    facts: dict[str, object] | None = None,
    then: Callable[[Session], None] | None = None,
) -> tuple[ParityRecord, DropRecord | None]:
    """Run one quantized artefact in its runtime.

    Args:
        result: The artefact, with the answers of its simulation.
        evaluation: What the drop is measured on; None for no drop.
        bound: Largest drop allowed.
        gates: The user's bounds on parity.
        simulated_sha256: Digest of the simulated answers.
        labels: Names of the classes.
        cache: Where unchanged work is served from.
        facts: What decides the answer besides artefact, samples and evaluation.
        then: Called with the session at the end, where one is opened.

    Returns:
        Parity with the simulation, and the drop against the float model; no drop where the
        runtime refused the artefact.

    Raises:
        MissingEnvironmentError: The runtime is not installed.
        BundleDamagedError: The simulated answers cannot be read.
        QuantizationError: The artefact was not quantized.
    """
    key = key_of(
        {
            "kind": "quantized parity",
            "code": code_digest(),
            "artefact": result.sha256,
            "simulated": simulated_sha256,
            "evaluation": evaluation.sha256 if evaluation else "",
            "gate": gates.gate(PARITY_PRECISION).model_dump(mode="json"),
            **(facts or {}),
        }
    )
    known = cache.get(key) if cache is not None else None
    if known is not None:
        parity = ParityRecord.model_validate(known["parity"])
        drop = DropRecord.model_validate(known["drop"]) if known["drop"] else None
        return parity, _held(drop, bound)
    measured: list[DropRecord] = []
    faces = face_scales(result)

    def measure(session: Session) -> None:
        if evaluation is not None:
            measured.append(measure_drop(float_run(session.run, faces), evaluation))
        if then is not None:
            then(session)

    if result.simulated is None:
        raise QuantizationError(f"{result.target} was not quantized")
    parity = verify_artefact(
        result.path,
        target=result.target,
        precision=PARITY_PRECISION,
        inputs=result.conversion.inputs,
        outputs=result.conversion.outputs,
        samples=Samples.load(result.simulated),
        samples_sha256=simulated_sha256,
        gates=gates,
        labels=labels,
        faces=faces,
        then=measure,
    )
    found = measured[0] if measured else None
    if cache is not None and parity.failure is None:
        cache.put(
            key,
            {
                "parity": parity.model_dump(mode="json"),
                "drop": found.model_dump(mode="json") if found else None,
            },
        )
    return parity, _held(found, bound)


def _held(drop: DropRecord | None, bound: float | None) -> DropRecord | None:
    if drop is None:
        return None
    return drop.model_copy(update={"bound": bound, "passed": bound is None or drop.drop <= bound})
