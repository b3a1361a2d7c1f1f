"""What a device is asked to do and what it answers."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np

from edgesdk.errors import EdgeSdkError, UsageError
from edgesdk.runtime.session import MeasuredOperator
from edgesdk.spec import TensorSpec

__all__ = ["Case", "Device", "Figures", "Measurement", "ProgressCallback", "Protocol", "Step"]


@dataclass(frozen=True)
class Case:
    """One artefact to measure.

    Attributes:
        name: What to call it, such as its target.
        path: The file, or the folder that is used as one.
        inputs: One array an input, by name; every run gets these.
        input_specs: What the manifest says of the inputs; None for what the file says.
        output_specs: Likewise of the outputs.
    """

    name: str
    path: Path
    inputs: Mapping[str, np.ndarray]
    input_specs: Sequence[TensorSpec] | None = None
    output_specs: Sequence[TensorSpec] | None = None


@dataclass(frozen=True)
class Protocol:
    """How to measure.

    Attributes:
        threads: Threads of the runtime.
        cold_loads: Loads in fresh processes; their median counts.
        warm_ups: Runs before the timed ones, after the first of all.
        runs: Timed runs.
        operator_runs: Runs with operator times, after the timed ones; 0 for none.
        timeout: Seconds for a load and for every single run.
        memory_limit: Bytes one artefact's process may hold resident; None for no limit.
        include_evaluators: Measure also where an evaluator stands in for the runtime.
    """

    threads: int = 1
    cold_loads: int = 3
    warm_ups: int = 3
    runs: int = 20
    operator_runs: int = 5
    timeout: float = 60.0
    memory_limit: int | None = None
    include_evaluators: bool = False

    def __post_init__(self) -> None:
        for name, smallest in (
            ("threads", 1),
            ("cold_loads", 1),
            ("warm_ups", 0),
            ("runs", 1),
            ("operator_runs", 0),
        ):
            if getattr(self, name) < smallest:
                raise UsageError(
                    f"{name.replace('_', ' ')} cannot be {getattr(self, name)}",
                    remedy=f"use at least {smallest}",
                )
        if not self.timeout > 0:
            raise UsageError(f"cannot wait {self.timeout} seconds", remedy="give a time above 0")


@dataclass(frozen=True)
class Step:
    """How far a measurement has come.

    Attributes:
        done: Steps done.
        total: Steps in all.
        doing: What comes next, in words.
    """

    done: int
    total: int
    doing: str


ProgressCallback: TypeAlias = Callable[[Step], None]


@dataclass(frozen=True)
class Figures:
    """What was measured of one artefact, unprocessed.

    Attributes:
        runtime: Runtime with version.
        evaluator: True where the figures are an evaluator's and say nothing of the device.
        loads_ms: One a cold load.
        first_runs_ms: The first inference after each cold load.
        latencies_ms: One a timed run, in order.
        peak_memory_bytes: Largest resident set of the process, imports included.
        model_memory_bytes: The part of the peak that loading and running added.
        operators: Median time an operator, in execution order; empty where unknown.
        operators_note: Where these come from, or why there are none.
        temperature_c: Before and after the timed runs, where the device tells.
    """

    runtime: str
    evaluator: bool
    loads_ms: tuple[float, ...]
    first_runs_ms: tuple[float, ...]
    latencies_ms: tuple[float, ...]
    peak_memory_bytes: int
    model_memory_bytes: int | None = None
    operators: tuple[MeasuredOperator, ...] = ()
    operators_note: str = ""
    temperature_c: tuple[float, float] | None = None


@dataclass(frozen=True)
class Measurement:
    """What became of one case: figures, a failure, or a reason to skip it.

    Attributes:
        case: The case.
        protocol: What was done, in words; empty without figures.
        figures: The figures, where it was measured.
        failure: Why it could not be measured.
        skipped: Why it was not meant to be measured, in words.
    """

    case: Case
    protocol: str = ""
    figures: Figures | None = None
    failure: EdgeSdkError | None = None
    skipped: str = ""


class Device(abc.ABC):
    """A machine on which artefacts are measured.

    Attributes:
        identifier: Such as ``local``.
    """

    identifier: ClassVar[str]

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Processor or phone, in words."""

    @abc.abstractmethod
    def measure(
        self,
        cases: Sequence[Case],
        protocol: Protocol,
        on_progress: ProgressCallback | None = None,
    ) -> list[Measurement]:
        """Measure artefacts side by side, one inference at a time.

        A failure of one case leaves the others alone.

        Args:
            cases: The artefacts.
            protocol: How to measure.
            on_progress: Called before every step.

        Returns:
            One measurement a case, in the same order.

        Raises:
            DeviceError: The device itself failed.
        """
