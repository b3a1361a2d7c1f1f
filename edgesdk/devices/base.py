"""Interface of a device: cases and protocol in, measurements out."""

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
        name: Name of the case, such as its target.
        path: The file, or a folder that is used as a file.
        inputs: Arrays by input name, the same for every run.
        input_specs: Specs of the inputs in the manifest; None uses those of the file.
        output_specs: Specs of the outputs in the manifest; None uses those of the file.
    """

    name: str
    path: Path
    inputs: Mapping[str, np.ndarray]
    input_specs: Sequence[TensorSpec] | None = None
    output_specs: Sequence[TensorSpec] | None = None


@dataclass(frozen=True)
class Protocol:
    """Measurement protocol.

    Attributes:
        threads: Number of runtime threads.
        cold_loads: Number of loads in fresh processes; the median is reported.
        warm_ups: Number of runs between the first run and the timed runs.
        runs: Number of timed runs.
        operator_runs: Number of runs with operator times, after the timed runs; 0 for none.
        timeout: Time limit of a load and of each run, in seconds.
        memory_limit: Resident bytes allowed for one artefact's process; None for no limit.
        include_evaluators: Measure evaluators too, where no runtime exists.
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
        least = {"threads": 1, "cold_loads": 1, "warm_ups": 0, "runs": 1, "operator_runs": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise UsageError(
                    f"{name.replace('_', ' ')} cannot be {getattr(self, name)}",
                    remedy=f"use at least {smallest}",
                )
        if not self.timeout > 0:
            raise UsageError(f"cannot wait {self.timeout} seconds", remedy="give a time above 0")


@dataclass(frozen=True)
class Step:
    """Progress of a measurement.

    Attributes:
        done: Number of steps done.
        total: Total number of steps.
        doing: Description of the next step.
    """

    done: int
    total: int
    doing: str


ProgressCallback: TypeAlias = Callable[[Step], None]


@dataclass(frozen=True)
class Figures:
    """Raw measurements of one artefact.

    Attributes:
        runtime: Runtime with version.
        evaluator: True if an evaluator was timed; the figures then do not describe the device.
        loads_ms: Duration of each cold load.
        first_runs_ms: Duration of the first inference after each cold load.
        latencies_ms: Duration of each timed run, in order.
        peak_memory_bytes: Largest resident set of the process, imports included.
        model_memory_bytes: Part of the peak added by loading and running.
        operators: Median time per operator, in execution order; empty if unknown.
        operators_note: Source of the operator times, or the reason why there are none.
        temperature_c: Temperature before and after the timed runs, if the device reports it.
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
    """Result of one case: figures, a failure, or a reason to skip it.

    Attributes:
        case: The case.
        protocol: The protocol in words; empty without figures.
        figures: The figures, if it was measured.
        failure: Error that prevented the measurement.
        skipped: Reason why it was skipped.
    """

    case: Case
    protocol: str = ""
    figures: Figures | None = None
    failure: EdgeSdkError | None = None
    skipped: str = ""


class Device(abc.ABC):
    """A machine that measures artefacts.

    Attributes:
        identifier: Identifier, such as ``local``.
    """

    identifier: ClassVar[str]

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name of the processor or phone."""

    @abc.abstractmethod
    def measure(
        self,
        cases: Sequence[Case],
        protocol: Protocol,
        on_progress: ProgressCallback | None = None,
    ) -> list[Measurement]:
        """Measure artefacts side by side, one inference at a time.

        A failure of one case does not affect the others.

        Args:
            cases: The artefacts.
            protocol: The protocol.
            on_progress: Called before every step.

        Returns:
            One measurement per case, in the same order.

        Raises:
            DeviceError: The device itself failed.
        """
