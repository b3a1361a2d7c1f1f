"""Verify artefacts: run each in its real runtime on the bundle's samples and compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from edgesdk.bundle.bundle import Bundle, select_artefacts
from edgesdk.bundle.manifest import (
    DropRecord,
    GateRecord,
    IoScaleRecord,
    ParityRecord,
    artefact_names,
)
from edgesdk.bundle.samples import Samples, constant_outputs
from edgesdk.errors import (
    BundleDamagedError,
    EdgeSdkError,
    InputSpecError,
    MissingEnvironmentError,
    UnknownNameError,
    UsageError,
)
from edgesdk.host.cache import Cache, key_of
from edgesdk.host.own_code import code_digest
from edgesdk.host.progress import AUTO, Auto, progress_shown
from edgesdk.quant.plan import Arrays
from edgesdk.runtime.isolated import open_isolated
from edgesdk.runtime.session import Session
from edgesdk.spec import TensorSpec
from edgesdk.verification.accuracy_drop import SampleLoss
from edgesdk.verification.int8_io import float_run
from edgesdk.verification.parity import (
    PHONE_ONLY,
    OutputComparison,
    Tolerances,
    classifies,
    meets,
    require_parity,
)

__all__ = [
    "TIMEOUT",
    "Tolerances",
    "cached_parity",
    "compare",
    "not_run",
    "require_parity",
    "verdict",
    "verify",
    "verify_artefact",
]

_AGAIN = "export the bundle again"

# Session errors on samples made for another artefact: a fault of the artefact, not of the user.
_MISFITS = (InputSpecError, UnknownNameError)

#: Seconds per inference after which the runtime counts as hung.
TIMEOUT = 300.0


def _class_names(labels: str | Sequence[str]) -> Sequence[str]:
    if not labels or not isinstance(labels, str):
        return labels
    from edgesdk.models.labels import labels as label_set

    return label_set(labels)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _named(index: int, names: Sequence[str]) -> str:
    return names[index] if index < len(names) else f"class {index}"


def compare(
    session: Session,
    samples: Samples,
    gate: GateRecord,
    labels: str | Sequence[str] = "",
    dynamic: bool = False,
    io_scales: Sequence[IoScaleRecord] = (),
    on_outputs: Callable[[int, Arrays], None] | None = None,
) -> ParityRecord:
    """Run every sample through a session and compare with the model's outputs.

    Args:
        session: The artefact in its runtime.
        samples: Inputs and expected outputs.
        gate: Bounds on parity.
        labels: Name of the label set, or the class names, for the classes of real samples.
        dynamic: True if the artefact has dynamic dimensions; otherwise samples of other shapes are
            skipped.
        io_scales: Scales of int8 inputs and outputs.
        on_outputs: Called with the place of each sample compared and the artefact's outputs.

    Raises:
        SessionError: The runtime failed on a sample.
        BundleDamagedError: There are no samples, or their outputs have other names.
    """
    if not len(samples):
        raise BundleDamagedError("the bundle has no samples", remedy=_AGAIN)
    names = _class_names(labels)
    comparisons: dict[str, OutputComparison] = {}
    classes: list[tuple[str, str, str]] = []
    shapes: list[str] = []
    run = float_run(session.run, io_scales)
    usual = {name: array.shape for name, array in samples.inputs[0].items()}
    count = 0
    for index, (inputs, expected) in enumerate(zip(samples.inputs, samples.expected, strict=True)):
        other_shape = {name: array.shape for name, array in inputs.items()} != usual
        if other_shape and not dynamic:
            continue
        actual = run(inputs)
        count += 1
        if other_shape:
            shapes.append(samples.names[index])
        if set(expected) != set(actual):
            raise BundleDamagedError(
                f"outputs differ: sample {samples.names[index]!r} has {_listed(expected)}, "
                f"the artefact {_listed(actual)}",
                remedy=_AGAIN,
            )
        for name, wanted in expected.items():
            comparison = comparisons.setdefault(name, OutputComparison(name))
            comparison.add(wanted, actual[name])
        if on_outputs is not None:
            on_outputs(index, actual)
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
    gates: Tolerances,
    labels: str | Sequence[str] = "",
    threads: int = 1,
    io_scales: Sequence[IoScaleRecord] = (),
    on_outputs: Callable[[int, Arrays], None] | None = None,
    then: Callable[[Session], None] | None = None,
) -> ParityRecord:
    """Run one artefact in a separate process and compare it with the model.

    If the runtime refuses the artefact or crashes on it, the record counts as not passed.

    Args:
        path: The artefact.
        target: Target with variant.
        precision: ``fp32``, ``fp16`` or ``quantized``.
        inputs: Inputs of the artefact.
        outputs: Outputs of the artefact.
        samples: Inputs and expected outputs; for a quantized artefact, those of its simulation.
        samples_sha256: Digest of the samples, for the record.
        gates: The user's bounds on parity.
        labels: Name of the label set, or the class names.
        threads: Number of runtime threads.
        io_scales: Scales of int8 inputs and outputs.
        on_outputs: Called with the place of each sample compared and the artefact's outputs.
        then: Called with the session after the comparison, to avoid loading the artefact again.

    Raises:
        UsageError: An option is out of range.
        MissingEnvironmentError: The runtime is not installed.
    """
    gate = gates.gate(precision)
    dynamic = any(spec.dynamic for spec in inputs)
    try:
        with open_isolated(
            path, threads=threads, inputs=inputs, outputs=outputs, timeout=TIMEOUT
        ) as session:
            record = compare(session, samples, gate, labels, dynamic, io_scales, on_outputs)
            if then is not None:
                then(session)
    except MissingEnvironmentError:
        raise
    except EdgeSdkError as error:
        if isinstance(error, UsageError) and not isinstance(error, _MISFITS):
            raise
        record = not_run(target, gate, error)
    return record.model_copy(update={"samples_sha256": samples_sha256})


def not_run(target: str, gate: GateRecord, error: EdgeSdkError) -> ParityRecord:
    """Return the record of an artefact of a ``TARGET:VARIANT`` that could not be run."""
    note = "this backend runs on the phone only" if target in PHONE_ONLY else ""
    failure = error.on_command_line()
    return ParityRecord(
        passed=False, runtime=target, note=note, samples=0, real=0, gate=gate, failure=failure
    )


def verdict(
    target: str, parity: ParityRecord, *, quantized: bool = False, simulated: bool = False
) -> str:
    """Return the outcome of the comparison of a ``TARGET:VARIANT`` in two or three words.

    Args:
        target: Target with variant.
        parity: Parity of its artefact.
        quantized: True if the artefact is quantized: it never equals the model.
        simulated: True if it was compared with its simulation.
    """
    if parity.passed and quantized:
        return "as simulated" if simulated else "runs, not simulated"
    if parity.passed:
        return "equal"
    if parity.failure is None:
        return "not as simulated" if simulated else "not equal"
    return "runs on the phone only" if target in PHONE_ONLY else "does not run"


def cached_parity(
    cache: Cache | None, key_facts: dict[str, object], make: Callable[[], ParityRecord]
) -> ParityRecord:
    """Return a parity record from the cache, or make and store it.

    Failed runs are not stored: the runtime may work next time.
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


@progress_shown("verifying", lambda display: display.step)
def verify(
    bundle: Bundle | str | os.PathLike[str],
    *,
    targets: Sequence[str] = (),
    gates: Tolerances | None = None,
    threads: int = 1,
    on_progress: Callable[[str, str], None] | Auto | None = AUTO,
) -> Bundle:
    """Verify a bundle's artefacts on this machine, and record the result in the bundle.

        bundle = edgesdk.verify("net.edge", targets=["onnx"])
        require_parity(bundle.manifest)

    Args:
        bundle: The bundle or its folder.
        targets: Names of artefacts to verify (``onnx w8a8_static``), targets with or without
            variant, or files of the bundle; empty for all.
        gates: Bounds that replace the default ones.
        threads: Number of threads of each runtime.
        on_progress: Called with target and step; ``auto`` and None as in :func:`edgesdk.export`.

    Returns:
        The bundle with new parity records; see :func:`require_parity`.

    Raises:
        BundleError: The bundle is damaged.
        UnknownNameError: The bundle does not have a target.
        MissingEnvironmentError: A runtime is not installed; results of the others are recorded.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    chosen = select_artefacts(opened.manifest, targets or None)
    names = dict(
        zip(
            (artefact.file.path for artefact in opened.manifest.artefacts),
            artefact_names(opened.manifest.artefacts),
            strict=True,
        )
    )
    samples = opened.samples()
    sha256 = opened.manifest.reference.samples.sha256
    records: dict[str, ParityRecord] = {}
    losses: dict[str, DropRecord | None] = {}
    missing: list[MissingEnvironmentError] = []
    report = on_progress if callable(on_progress) else lambda target, step: None
    for artefact in chosen:
        name = names[artefact.file.path]
        report(name, "verifying")
        simulated, quantized = artefact.simulated, artefact.quantized
        loss = SampleLoss(samples)
        try:
            record = verify_artefact(
                opened.path_of(artefact),
                target=artefact.target,
                precision=("quantized" if simulated else "not simulated")
                if quantized
                else artefact.precision,
                inputs=artefact.inputs,
                outputs=artefact.outputs,
                # The reference of a quantized artefact is its simulation.
                samples=Samples.load(opened.path_of(simulated)) if simulated else samples,
                samples_sha256=simulated.sha256 if simulated else sha256,
                io_scales=quantized.faces if quantized else (),
                gates=gates or Tolerances(),
                labels=opened.manifest.classes or opened.manifest.labels,
                threads=threads,
                on_outputs=loss.add if quantized else None,
            )
        except MissingEnvironmentError as error:
            # A missing runtime is a fault of this machine, not of the artefact.
            missing.append(error)
            report(name, "no runtime")
            continue
        if quantized and not simulated and artefact.parity and record.failure is None:
            # The note of the export says why there is no simulation.
            record = record.model_copy(update={"note": artefact.parity.note})
        # Key by file: a bundle may hold two artefacts of one target.
        records[artefact.file.path] = record
        losses[artefact.file.path] = loss.record()
        report(
            name,
            verdict(
                artefact.target,
                record,
                quantized=quantized is not None,
                simulated=simulated is not None,
            ),
        )
    artefacts = [
        artefact.model_copy(
            update={
                "parity": records.get(artefact.file.path, artefact.parity),
                "loss": losses.get(artefact.file.path, artefact.loss),
            }
        )
        for artefact in opened.manifest.artefacts
    ]
    # Bundles of older versions have no record; vanishing outputs are known to the export alone.
    constant = opened.manifest.constant_outputs or constant_outputs(samples)
    changed = {"artefacts": artefacts, "constant_outputs": constant}
    updated = opened.update(opened.manifest.model_copy(update=changed))
    if missing:
        raise missing[0]
    return updated
