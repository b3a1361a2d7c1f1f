"""Convert raw measurements to the manifest's profile records."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

from edgesdk.bundle.manifest import ArtefactRecord, OperatorTime, Percentiles, ProfileRecord
from edgesdk.devices.base import Figures, Measurement
from edgesdk.errors import UsageError
from edgesdk.runtime.session import MeasuredOperator

__all__ = ["operator_shares", "percentiles", "profile_record", "with_profile"]

#: Maximum number of operators per record.
_MAX_OPERATORS = 1000
_MAX_NAME = 500


def percentiles(milliseconds: Sequence[float]) -> Percentiles:
    """Return percentiles of timed runs, interpolated linearly between the two nearest runs.

    Raises:
        UsageError: There are no runs.
    """
    if not milliseconds:
        raise UsageError("percentiles need at least one run", remedy="time at least one run")
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
    """Return operators' median times with their shares of the total, the slowest first."""
    total = sum(entry.milliseconds for entry in measured)
    ordered = sorted(measured, key=lambda entry: entry.milliseconds, reverse=True)
    return [
        OperatorTime(
            name=entry.name[:_MAX_NAME],
            operator=entry.operator[:_MAX_NAME],
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
    """Return the record of a measurement with its figures, made at the time ``measured``."""
    operators = operator_shares(figures.operators)
    note = figures.operators_note
    if len(operators) > _MAX_OPERATORS:
        note = f"{note}; the {_MAX_OPERATORS} most expensive of {len(operators)}".lstrip("; ")
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
        operators=operators[:_MAX_OPERATORS],
        operators_note=note,
        temperature_c=figures.temperature_c,
        measured=measured.isoformat(timespec="seconds"),
    )


def with_profile(artefact: ArtefactRecord, profile: ProfileRecord) -> ArtefactRecord:
    """Return the artefact with a profile that replaces one of the same device and threads."""
    same = (profile.device, profile.threads)
    others = [entry for entry in artefact.profiles if (entry.device, entry.threads) != same]
    return artefact.model_copy(update={"profiles": [*others, profile]})
