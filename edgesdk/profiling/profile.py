"""Measure the artefacts of a bundle on a device, side by side, and keep the figures with it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import ArtefactRecord, Manifest, ProfileRecord
from edgesdk.devices import find
from edgesdk.devices.base import Case, Device, Measurement, ProgressCallback, Protocol
from edgesdk.errors import BundleError, EdgeSdkError, InputSpecError, UnknownNameError
from edgesdk.frontend.random_inputs import random_inputs
from edgesdk.profiling.records import profile_record, with_profile
from edgesdk.runtime.session import bind_inputs

__all__ = ["ArtefactProfile", "ProfileResult", "profile", "select_artefacts"]


@dataclass(frozen=True)
class ArtefactProfile:
    """What became of one artefact: a record, a failure, or a reason to skip it.

    Attributes:
        target: Its target with variant.
        file: Its path in the bundle.
        record: The profile, as it now stands in the manifest.
        failure: Why it could not be measured.
        skipped: Why it was not meant to be measured, in words.
    """

    target: str
    file: str
    record: ProfileRecord | None = None
    failure: EdgeSdkError | None = None
    skipped: str = ""


@dataclass(frozen=True)
class ProfileResult:
    """The outcome of :func:`profile`.

    Attributes:
        bundle: The bundle with the new manifest.
        device: Identifier of the device.
        device_name: The device in words.
        artefacts: One entry an artefact that was asked for, in the manifest's order.
    """

    bundle: Bundle
    device: str
    device_name: str
    artefacts: tuple[ArtefactProfile, ...]

    @property
    def records(self) -> list[ProfileRecord]:
        """The new records, in the manifest's order."""
        return [entry.record for entry in self.artefacts if entry.record is not None]

    @property
    def failures(self) -> list[ArtefactProfile]:
        """The artefacts that could not be measured."""
        return [entry for entry in self.artefacts if entry.failure is not None]

    @property
    def skipped(self) -> list[ArtefactProfile]:
        """The artefacts that were left out on purpose."""
        return [entry for entry in self.artefacts if entry.skipped]


def profile(
    bundle: Bundle | str | os.PathLike[str],
    *,
    device: str | Device = "local",
    targets: Sequence[str] | None = None,
    threads: int = 1,
    runs: int = 20,
    timeout: float = 60.0,
    memory_limit: int | None = None,
    include_evaluators: bool = False,
    on_progress: ProgressCallback | None = None,
) -> ProfileResult:
    """Measure the artefacts of a bundle in one interleaved run and record the profiles in it.

    A profile takes the place of the one of the same device and thread count. One artefact's crash,
    hang or refusal is told in the result and leaves the others alone. An artefact that only an
    evaluator can run here (Core ML off a Mac) says nothing of the phone: it is skipped.

    Args:
        bundle: The bundle, or its folder.
        device: Identifier of a device, or the device.
        targets: Names of targets, targets without their variant (for all their variants), or
            files of the bundle; None for every artefact.
        threads: Threads of the runtime, at least 1.
        runs: Timed runs, at least 1.
        timeout: Seconds for a load and for every single run.
        memory_limit: Bytes one artefact's process may hold resident; None for no limit.
        include_evaluators: Measure evaluators too; their records say ``evaluator``.
        on_progress: Called before every step.

    Raises:
        UsageError: A number out of range.
        UnknownNameError: No such device or artefact.
        BundleError: The bundle cannot be used.
        StorageError: The manifest cannot be written.
        DeviceError: The device itself failed.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    chosen = find(device) if isinstance(device, str) else device
    protocol = Protocol(
        threads=threads,
        runs=runs,
        timeout=timeout,
        memory_limit=memory_limit,
        include_evaluators=include_evaluators,
    )
    artefacts = select_artefacts(opened.manifest, targets)
    if not artefacts:
        raise BundleError(
            "the bundle has no artefact to measure", remedy="export it for at least one target"
        )
    example = opened.samples().inputs
    cases = [_case(opened, artefact, example[0] if example else {}) for artefact in artefacts]
    measurements = chosen.measure(cases, protocol, on_progress)
    now = datetime.datetime.now(datetime.UTC)
    name = chosen.name
    entries = tuple(
        _entry(artefact, measurement, chosen.identifier, name, threads, now)
        for artefact, measurement in zip(artefacts, measurements, strict=True)
    )
    records = {entry.file: entry.record for entry in entries if entry.record is not None}
    return ProfileResult(
        _recorded(opened, records) if records else opened, chosen.identifier, name, entries
    )


def select_artefacts(manifest: Manifest, targets: Sequence[str] | None) -> list[ArtefactRecord]:
    """The artefacts that some names mean, in the manifest's order, each once.

    Args:
        manifest: Of a bundle.
        targets: See :func:`profile`.

    Raises:
        UnknownNameError: A name that means no artefact.
    """
    if targets is None:
        return list(manifest.artefacts)
    known = {record.target for record in manifest.artefacts}
    files: set[str] = set()
    for name in targets:
        exactly = [
            record.file.path
            for record in manifest.artefacts
            if name in (record.target, record.file.path)
        ]
        # As everywhere: an exact name first, a target without its variant only after it.
        variants = [
            record.file.path
            for record in manifest.artefacts
            if name == record.target.partition(":")[0]
        ]
        if not (exactly or variants):
            raise UnknownNameError("artefact", name, known)
        files.update(exactly or variants)
    return [record for record in manifest.artefacts if record.file.path in files]


def _case(bundle: Bundle, artefact: ArtefactRecord, sample: Mapping[str, np.ndarray]) -> Case:
    try:
        bind_inputs(artefact.inputs, sample)
        inputs = dict(sample)
    except (InputSpecError, UnknownNameError):
        # The artefact has another face than the model. Time depends on shapes, hardly on values.
        inputs = random_inputs(artefact.inputs, seed=0, example=sample)
    return Case(
        artefact.target,
        bundle.path_of(artefact),
        inputs,
        input_specs=artefact.inputs,
        output_specs=artefact.outputs,
    )


def _entry(
    artefact: ArtefactRecord,
    measurement: Measurement,
    device: str,
    device_name: str,
    threads: int,
    now: datetime.datetime,
) -> ArtefactProfile:
    record = None
    if measurement.figures is not None:
        record = profile_record(
            measurement,
            measurement.figures,
            device=device,
            device_name=device_name,
            threads=threads,
            measured=now,
        )
    return ArtefactProfile(
        artefact.target,
        artefact.file.path,
        record=record,
        failure=measurement.failure,
        skipped=measurement.skipped,
    )


def _recorded(bundle: Bundle, records: Mapping[str, ProfileRecord]) -> Bundle:
    # Read again: a measurement takes minutes, in which somebody may have verified the bundle.
    current = Bundle.open(bundle.path, check_hashes=False)
    hashes = {artefact.file.path: artefact.file.sha256 for artefact in bundle.manifest.artefacts}
    artefacts = [
        with_profile(artefact, records[artefact.file.path])
        if artefact.file.path in records and hashes[artefact.file.path] == artefact.file.sha256
        else artefact
        for artefact in current.manifest.artefacts
    ]
    return current.update(current.manifest.model_copy(update={"artefacts": artefacts}))
