"""Measure the artefacts of a bundle on a device, and record the results in the bundle."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesdk.bundle.bundle import Bundle, select_artefacts
from edgesdk.bundle.manifest import ArtefactRecord, ProfileRecord, artefact_names
from edgesdk.devices import find
from edgesdk.devices.base import Case, Device, Measurement, ProgressCallback, Protocol
from edgesdk.errors import BundleError, EdgeSdkError, InputSpecError, UnknownNameError
from edgesdk.frontend.random_inputs import random_inputs
from edgesdk.host.progress import AUTO, Auto, progress_shown
from edgesdk.profiling.records import profile_record, with_profile
from edgesdk.runtime.session import bind_inputs

__all__ = ["ArtefactProfile", "ProfileResult", "profile"]


@dataclass(frozen=True)
class ArtefactProfile:
    """Result of one artefact: a record, a failure, or a reason for skipping it.

    Attributes:
        name: Name of the artefact, as ``targets`` takes it.
        target: Target with variant.
        file: Path in the bundle.
        record: The profile, as stored in the manifest.
        failure: Error of the measurement.
        skipped: Reason for not measuring it.
    """

    name: str
    target: str
    file: str
    record: ProfileRecord | None = None
    failure: EdgeSdkError | None = None
    skipped: str = ""


@dataclass(frozen=True)
class ProfileResult:
    """Result of :func:`profile`.

    Attributes:
        bundle: The bundle with the new manifest.
        device: Identifier of the device.
        device_name: Description of the device.
        artefacts: One entry per requested artefact, in the manifest's order.
    """

    bundle: Bundle
    device: str
    device_name: str
    artefacts: tuple[ArtefactProfile, ...]

    @property
    def records(self) -> list[ProfileRecord]:
        """New records, in the manifest's order."""
        return [entry.record for entry in self.artefacts if entry.record is not None]

    @property
    def failures(self) -> list[ArtefactProfile]:
        """Artefacts that could not be measured."""
        return [entry for entry in self.artefacts if entry.failure is not None]

    @property
    def skipped(self) -> list[ArtefactProfile]:
        """Artefacts that were skipped."""
        return [entry for entry in self.artefacts if entry.skipped]


@progress_shown("measuring", lambda display: display.measurement)
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
    on_progress: ProgressCallback | Auto | None = AUTO,
) -> ProfileResult:
    """Measure the artefacts of a bundle in one interleaved run, and record the profiles in it.

    A profile replaces the one of the same device and thread count. An artefact that crashes, hangs
    or is refused has a failure in the result and does not affect the others. Artefacts that only an
    evaluator can run here (Core ML off a Mac) are skipped: their times say nothing about a phone.

        result = edgesdk.profile("net.edge", runs=50)
        print([record.latency.p50 for record in result.records])

    Args:
        bundle: The bundle, or its folder.
        device: Identifier of a device, or the device.
        targets: Names of artefacts (``onnx w8a8_static``), targets with or without variant, or
            files of the bundle; None for every artefact.
        threads: Number of runtime threads, at least 1.
        runs: Number of timed runs, at least 1.
        timeout: Seconds for loading and for each run.
        memory_limit: Resident bytes allowed per artefact process; None for no limit.
        include_evaluators: True to measure evaluators too; their records have ``evaluator`` set.
        on_progress: Called before every step; ``auto`` and None as in :func:`edgesdk.export`.

    Raises:
        UsageError: A number is out of range.
        UnknownNameError: The device or an artefact is unknown.
        BundleError: The bundle cannot be read or holds no artefact.
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
    names = dict(
        zip(
            (artefact.file.path for artefact in opened.manifest.artefacts),
            artefact_names(opened.manifest.artefacts),
            strict=True,
        )
    )
    cases = [
        _case(opened, artefact, names[artefact.file.path], example[0] if example else {})
        for artefact in artefacts
    ]
    report = on_progress if callable(on_progress) else None
    measurements = chosen.measure(cases, protocol, report)
    now = datetime.datetime.now(datetime.UTC)
    device_name = chosen.name
    entries = tuple(
        _entry(
            artefact,
            names[artefact.file.path],
            measurement,
            chosen.identifier,
            device_name,
            threads,
            now,
        )
        for artefact, measurement in zip(artefacts, measurements, strict=True)
    )
    records = {entry.file: entry.record for entry in entries if entry.record is not None}
    return ProfileResult(
        _recorded(opened, records) if records else opened, chosen.identifier, device_name, entries
    )


def _case(
    bundle: Bundle, artefact: ArtefactRecord, name: str, sample: Mapping[str, np.ndarray]
) -> Case:
    try:
        bind_inputs(artefact.inputs, sample)
        inputs = dict(sample)
    except (InputSpecError, UnknownNameError):
        # The artefact's inputs differ from the model's. Time depends on shapes, hardly on values.
        inputs = random_inputs(artefact.inputs, seed=0, example=sample)
    return Case(
        name,
        bundle.path_of(artefact),
        inputs,
        input_specs=artefact.inputs,
        output_specs=artefact.outputs,
    )


def _entry(
    artefact: ArtefactRecord,
    name: str,
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
        name,
        artefact.target,
        artefact.file.path,
        record=record,
        failure=measurement.failure,
        skipped=measurement.skipped,
    )


def _recorded(bundle: Bundle, records: Mapping[str, ProfileRecord]) -> Bundle:
    # Read the manifest again: the bundle may have been verified during the measurement.
    current = Bundle.open(bundle.path, check_hashes=False)
    hashes = {artefact.file.path: artefact.file.sha256 for artefact in bundle.manifest.artefacts}
    artefacts = [
        with_profile(artefact, records[artefact.file.path])
        if artefact.file.path in records and hashes[artefact.file.path] == artefact.file.sha256
        else artefact
        for artefact in current.manifest.artefacts
    ]
    return current.update(current.manifest.model_copy(update={"artefacts": artefacts}))
