"""Records of one artefact measured on one device."""

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
        name: Name in the artefact.
        operator: Operator type.
        milliseconds: Median over the profiled runs.
        share: Share of the sum over all operators, 0..1.
        where: File and line in the user's code, if known.
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
        evaluator: True if an evaluator was timed; the figures then do not describe the device.
        protocol: The protocol in words: cold loads, warm-ups, runs, interleaving.
        threads: Number of runtime threads.
        runs: Number of timed runs.
        load_ms: Median of the cold loads, each in a fresh process.
        first_run_ms: Duration of the first inference after loading.
        latency: Percentiles of the timed runs.
        peak_memory_bytes: Largest resident set of the process.
        model_memory_bytes: Part of the peak added by loading and running the artefact.
        operators: Time per operator, most expensive first; empty if the runtime gives none.
        operators_note: Source of the operator times, or the reason why there are none.
        temperature_c: Temperature before and after, if the device reports it.
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
