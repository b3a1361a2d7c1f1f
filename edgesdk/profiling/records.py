"""From raw measurements to the manifest's profile records: statistics and nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

from edgesdk.bundle.manifest import ArtefactRecord, OperatorTime, Percentiles, ProfileRecord
from edgesdk.devices.base import Figures, Measurement
from edgesdk.errors import UsageError
from edgesdk.runtime.session import MeasuredOperator

__all__ = ["operator_shares", "percentiles", "profile_record", "with_profile"]

#: Operators kept in a manifest; a phone's network seldom has as many.
_MOST_OPERATORS = 1000
_LONGEST_NAME = 500


def percentiles(milliseconds: Sequence[float]) -> Percentiles:
    """Percentiles of timed runs, interpolated linearly between the two nearest runs.

    Args:
        milliseconds: One time a run, at least one.

    Raises:
        UsageError: No run at all.
    """
    if not milliseconds:
        raise UsageError("there are no percentiles of no runs", remedy="time at least one run")
    times = np.asarray(milliseconds, dtype=np.float64)
    p10, p50, p90, p99 = (float(value) for value in np.percentile(times, (10, 50, 90, 99)))
    return Percentiles(
        p10=p10,
        p50=p50,
        p90=p90,
        p99=p99,
        mean=float(times.mean()),
        min=float(times.min()),
        max=float(times.max()),
    )


def operator_shares(measured: Sequence[MeasuredOperator]) -> list[OperatorTime]:
    """Operators with their part of the sum, most expensive first.

    Args:
        measured: Median time an operator.
    """
    total = sum(entry.milliseconds for entry in measured)
    ordered = sorted(measured, key=lambda entry: entry.milliseconds, reverse=True)
    return [
        OperatorTime(
            name=entry.name[:_LONGEST_NAME],
            operator=entry.operator[:_LONGEST_NAME],
            milliseconds=entry.milliseconds,
            share=entry.milliseconds / total if total > 0 else 0.0,
        )
        for entry in ordered
    ]


def profile_record(
    measurement: Measurement,
    figures: Figures,
    *,
    device: str,
    device_name: str,
    threads: int,
    measured: datetime.datetime,
) -> ProfileRecord:
    """The record of one measurement.

    Args:
        measurement: What was measured.
        figures: Its figures.
        device: Identifier of the device.
        device_name: The device in words.
        threads: Threads the runtime was given.
        measured: When.
    """
    operators = operator_shares(figures.operators)
    note = figures.operators_note
    if len(operators) > _MOST_OPERATORS:
        note = f"{note}; the {_MOST_OPERATORS} most expensive of {len(operators)}".lstrip("; ")
    return ProfileRecord(
        device=device,
        device_name=device_name,
        runtime=figures.runtime,
        evaluator=figures.evaluator,
        protocol=measurement.protocol,
        threads=threads,
        runs=len(figures.latencies_ms),
        load_ms=float(np.median(figures.loads_ms)),
        first_run_ms=float(np.median(figures.first_runs_ms)),
        latency=percentiles(figures.latencies_ms),
        peak_memory_bytes=figures.peak_memory_bytes,
        model_memory_bytes=figures.model_memory_bytes,
        operators=operators[:_MOST_OPERATORS],
        operators_note=note,
        temperature_c=figures.temperature_c,
        measured=measured.isoformat(timespec="seconds"),
    )


def with_profile(artefact: ArtefactRecord, profile: ProfileRecord) -> ArtefactRecord:
    """The artefact with a further profile, in place of one of the same device and threads."""
    same = (profile.device, profile.threads)
    others = [entry for entry in artefact.profiles if (entry.device, entry.threads) != same]
    return artefact.model_copy(update={"profiles": [*others, profile]})
