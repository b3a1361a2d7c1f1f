"""Prove artefacts: run each in its real runtime on the bundle's samples and compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesdk.bundle import Bundle
from edgesdk.cache import Cache, code_digest, key_of
from edgesdk.errors import EdgeSdkError, GateError, UsageError
from edgesdk.manifest import ArtefactRecord, GateRecord, Manifest, ParityRecord
from edgesdk.parity import OutputComparison, classifies, gate_for, meets
from edgesdk.runtime.isolated import open_isolated
from edgesdk.runtime.session import Session
from edgesdk.samples import Samples
from edgesdk.spec import TensorSpec

__all__ = ["GateOptions", "compare", "require_parity", "verify", "verify_artefact"]

#: Backends of ExecuTorch that exist on the phone only.
_PHONE_ONLY = ("executorch:vulkan", "executorch:coreml")

#: Seconds one inference may take before the runtime counts as hung.
TIMEOUT = 300.0


@dataclass(frozen=True)
class GateOptions:
    """Bounds the user set in place of the default ones; see :func:`edgesdk.parity.gate_for`."""

    cosine: float | None = None
    relative_error: float | None = None
    agreement: float | None = None

    def gate(self, precision: str) -> GateRecord:
        """The gate of an artefact of this precision."""
        return gate_for(
            precision,
            cosine=self.cosine,
            relative_error=self.relative_error,
            agreement=self.agreement,
        )


def _class_names(labels: str) -> Sequence[str]:
    if not labels:
        return ()
    from edgesdk.models.labels import labels as label_set

    return label_set(labels)


def _named(index: int, names: Sequence[str]) -> str:
    return names[index] if index < len(names) else f"class {index}"


def compare(
    session: Session,
    samples: Samples,
    gate: GateRecord,
    labels: str = "",
    free: bool = False,
) -> ParityRecord:
    """Run every sample through a session and compare with what the model answered.

    Args:
        session: The artefact in its runtime.
        samples: Inputs and expected outputs.
        gate: The bounds.
        labels: Name of the label set, for the classes of real samples.
        free: Whether the artefact has free dimensions; samples of other shapes are left out
            otherwise.

    Raises:
        SessionError: The runtime failed on a sample.
    """
    names = _class_names(labels)
    first = samples.expected[0]
    comparisons = {name: OutputComparison(name) for name in first}
    classes: list[tuple[str, str, str]] = []
    shapes: list[str] = []
    usual = {name: array.shape for name, array in samples.inputs[0].items()}
    count = 0
    for index, (inputs, expected) in enumerate(zip(samples.inputs, samples.expected, strict=True)):
        other_shape = {name: array.shape for name, array in inputs.items()} != usual
        if other_shape and not free:
            continue
        actual = session.run(inputs)
        count += 1
        if other_shape:
            shapes.append(samples.names[index])
        for name, wanted in expected.items():
            comparisons[name].add(wanted, actual[name])
        scores = [name for name, wanted in expected.items() if classifies(wanted.shape)]
        if index < samples.real and len(scores) == 1:
            pair = (int(np.argmax(array[scores[0]][0])) for array in (expected, actual))
            eager, artefact = (_named(found, names) for found in pair)
            classes.append((samples.names[index], eager, artefact))
    outputs = [comparison.record() for comparison in comparisons.values()]
    return ParityRecord(
        passed=all(meets(output, gate) for output in outputs),
        runtime=session.runtime,
        evaluator=session.evaluator,
        note=session.note,
        samples=count,
        real=samples.real,
        gate=gate,
        outputs=outputs,
        shapes=shapes,
        classes=classes,
    )


def verify_artefact(
    path: Path,
    *,
    target: str,
    precision: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    samples: Samples,
    samples_sha256: str,
    gates: GateOptions,
    labels: str = "",
    threads: int = 1,
) -> ParityRecord:
    """Run one artefact in a process of its own and compare it with the model.

    A runtime that refuses the artefact or dies on it makes a record that did not pass.

    Args:
        path: The artefact.
        target: Target with variant.
        precision: ``fp32`` or ``fp16``.
        inputs: The artefact's face.
        outputs: Likewise.
        samples: Inputs and expected outputs.
        samples_sha256: Their digest, for the record.
        gates: The user's bounds.
        labels: Name of the label set.
        threads: Threads of the runtime.
    """
    gate = gates.gate(precision)
    free = any(spec.dynamic for spec in inputs)
    try:
        with open_isolated(
            path, threads=threads, inputs=inputs, outputs=outputs, timeout=TIMEOUT
        ) as session:
            record = compare(session, samples, gate, labels, free)
    except EdgeSdkError as error:
        if isinstance(error, UsageError):
            raise
        note = "this backend runs on the phone only" if target in _PHONE_ONLY else ""
        record = ParityRecord(
            passed=False,
            runtime=target,
            note=note,
            samples=0,
            real=0,
            gate=gate,
            failure=str(error),
        )
    return record.model_copy(update={"samples_sha256": samples_sha256})


def cached_parity(
    cache: Cache | None, key_facts: dict[str, object], make: Callable[[], ParityRecord]
) -> ParityRecord:
    """Serve a parity record from the cache, or make and store it.

    Only records of runs that took place are kept: a runtime that died may live next time.
    """
    key = key_of({"kind": "parity", "code": code_digest(), **key_facts})
    if cache is not None:
        facts = cache.get(key)
        if facts is not None:
            return ParityRecord.model_validate(facts)
    record = make()
    if cache is not None and record.failure is None:
        cache.put(key, record.model_dump(mode="json"))
    return record


def verify(
    bundle: Bundle | str | os.PathLike[str],
    *,
    targets: Sequence[str] = (),
    gates: GateOptions | None = None,
    threads: int = 1,
    on_progress: Callable[[str, str], None] | None = None,
) -> Bundle:
    """Prove a bundle's artefacts again on this machine, and record the result in it.

    Args:
        bundle: The bundle or its folder.
        targets: Which artefacts; all without any.
        gates: Bounds in place of the default ones.
        threads: Threads of each runtime.
        on_progress: Called with target and step.

    Returns:
        The bundle with new parity records; whether they passed is in them, see
        :func:`require_parity`.

    Raises:
        BundleError: The bundle is damaged.
        UnknownNameError: A target it does not have.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    chosen = [opened.artefact(name) for name in targets] or opened.manifest.artefacts
    samples = opened.samples()
    sha256 = opened.manifest.reference.samples.sha256
    records: dict[str, ParityRecord] = {}
    for artefact in chosen:
        if on_progress:
            on_progress(artefact.target, "running")
        records[artefact.target] = verify_artefact(
            opened.path_of(artefact),
            target=artefact.target,
            precision=artefact.precision,
            inputs=artefact.inputs,
            outputs=artefact.outputs,
            samples=samples,
            samples_sha256=sha256,
            gates=gates or GateOptions(),
            labels=opened.manifest.labels,
            threads=threads,
        )
        if on_progress:
            on_progress(artefact.target, "equal" if records[artefact.target].passed else "differs")
    artefacts = [
        artefact.model_copy(update={"parity": records[artefact.target]})
        if artefact.target in records
        else artefact
        for artefact in opened.manifest.artefacts
    ]
    return opened.update(opened.manifest.model_copy(update={"artefacts": artefacts}))


def _shortfall(artefact: ArtefactRecord) -> str:
    parity = artefact.parity
    if parity is None:
        return f"{artefact.target}: not verified"
    if parity.failure:
        return f"{artefact.target}: {parity.failure.splitlines()[0]}"
    bad = [output for output in parity.outputs if not meets(output, parity.gate)]
    worst = bad[0] if bad else parity.outputs[0]
    if worst.cosine is None or worst.relative_error is None:
        return f"{artefact.target}: output {worst.name!r} has another shape or is not finite"
    return (
        f"{artefact.target}: output {worst.name!r} has cosine {worst.cosine:.6f} "
        f"(gate {parity.gate.cosine}) and differs by {worst.relative_error:.2e} of its range "
        f"(gate {parity.gate.relative_error:.0e})"
    )


def require_parity(manifest: Manifest, *, allow_failures: bool = False) -> None:
    """Hold a manifest against its gates.

    Args:
        manifest: With parity records.
        allow_failures: Whether targets without artefact are fine.

    Raises:
        GateError: An artefact is not proven, or a target gave none.
    """
    short = [
        _shortfall(artefact)
        for artefact in manifest.artefacts
        if (artefact.parity is None or not artefact.parity.passed)
        and artefact.target not in _PHONE_ONLY
    ]
    failed = [] if allow_failures else manifest.failures
    if short or failed:
        lines = [*short, *(f"{f.target}: {f.error}: {f.message}" for f in failed)]
        raise GateError(
            f"{len(lines)} of {len(manifest.artefacts) + len(manifest.failures)} targets are not "
            "proven equal to the model\n  " + "\n  ".join(lines),
            remedy="edgesdk verify BUNDLE --bisect finds the first operator that differs"
            if short
            else "the bundle's report lists each failure with its remedy",
        )
