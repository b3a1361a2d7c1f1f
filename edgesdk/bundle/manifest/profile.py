"""Records of a measurement of one artefact on one device."""

from __future__ import annotations

from edgesdk.bundle.manifest.record import Items, Record, Text

__all__ = ["OperatorTime", "Percentiles", "ProfileRecord"]


class Percentiles(Record):
    """Milliseconds over the timed runs."""

    p10: float
    p50: float
    p90: float
    p99: float
    mean: float
    min: float
    max: float


class OperatorTime(Record):
    """Time of one operator of the artefact.

    Attributes:
        name: Its name in the artefact.
        operator: Its type.
        milliseconds: Median over the profiled runs.
        share: Part of the sum over all operators, 0..1.
        where: File and line in the user's code, where known.
    """

    name: str
    operator: str
    milliseconds: float
    share: float = 0.0
    where: Text = ""


class ProfileRecord(Record):
    """One artefact measured on one device.

    Attributes:
        device: Device identifier, such as ``local``.
        device_name: Processor or phone in words.
        runtime: Runtime with version.
        evaluator: True where the figures are an evaluator's and say nothing of the device.
        protocol: The protocol in words: cold loads, warm-ups, runs, interleaving.
        threads: Threads the runtime was given.
        runs: Timed runs.
        load_ms: Median of the cold loads, a fresh process each.
        first_run_ms: The first inference after loading.
        latency: Percentiles of the timed runs.
        peak_memory_bytes: Largest resident set of the process that ran it.
        model_memory_bytes: The part of the peak that loading and running the artefact added.
        operators: Time an operator, most expensive first; empty where the runtime gives none.
        operators_note: Where the operator times come from, or why there are none.
        temperature_c: Before and after, where the device tells.
        measured: ISO 8601 time of the measurement.
    """

    device: str
    device_name: str
    runtime: str
    evaluator: bool = False
    protocol: Text = ""
    threads: int
    runs: int
    load_ms: float
    first_run_ms: float
    latency: Percentiles
    peak_memory_bytes: int
    model_memory_bytes: int | None = None
    operators: Items[OperatorTime] = []
    operators_note: Text = ""
    temperature_c: tuple[float, float] | None = None
    measured: str = ""
