"""The local machine as a device: one process per artefact, one inference at a time."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from edgesdk.devices.base import (
    Case,
    Device,
    Figures,
    Measurement,
    ProgressCallback,
    Protocol,
    Step,
)
from edgesdk.devices.processor import processor_name, temperature
from edgesdk.devices.schedule import rounds
from edgesdk.errors import EdgeSdkError
from edgesdk.runtime.isolated import IsolatedSession, open_isolated
from edgesdk.runtime.session import MeasuredOperator

__all__ = ["LocalDevice"]


class LocalDevice(Device):
    """The local machine.

    All artefacts stay loaded, each in a process of its own, so memory must hold all of them. A
    process is paused between its turns, because thread pools spin after an inference and would
    take CPU time from the next one.
    """

    identifier: ClassVar[str] = "local"

    @property
    def name(self) -> str:
        """Name of the processor."""
        return processor_name()

    def measure(
        self,
        cases: Sequence[Case],
        protocol: Protocol,
        on_progress: ProgressCallback | None = None,
    ) -> list[Measurement]:
        """See :meth:`edgesdk.devices.base.Device.measure`."""
        entrants = [_Entrant(case, protocol) for case in cases]
        total = len(cases) * (protocol.cold_loads + 2) + protocol.runs
        done = itertools.count()

        def step(doing: str) -> None:
            if on_progress is not None:
                on_progress(Step(next(done), total, doing))

        try:
            for turn, order in enumerate(rounds(len(cases), protocol.cold_loads)):
                for index in order:
                    entrant = entrants[index]
                    step(f"load {turn + 1} of {protocol.cold_loads}: {entrant.case.name}")
                    entrant.load()
            for entrant in entrants:
                step(f"warm-up: {entrant.case.name}")
                entrant.warm_up()
            before = temperature()
            for turn, order in enumerate(rounds(len(cases), protocol.runs)):
                step(f"timed run {turn + 1} of {protocol.runs}")
                for index in order:
                    entrants[index].run()
            after = temperature()
            for entrant in entrants:
                step(f"operator times: {entrant.case.name}")
                entrant.finish()
        finally:
            for entrant in entrants:
                entrant.close()
        heat = None if before is None or after is None else (before, after)
        together = sum(entrant.measured for entrant in entrants)
        return [entrant.measurement(heat, _in_words(protocol, together)) for entrant in entrants]


class _Entrant:
    """One artefact during the protocol."""

    def __init__(self, case: Case, protocol: Protocol) -> None:
        self.case = case
        self._protocol = protocol
        self._session: IsolatedSession | None = None
        self._failure: EdgeSdkError | None = None
        self._skipped = ""
        self._runtime = ""
        self._evaluator = False
        self._loads: list[float] = []
        self._first_runs: list[float] = []
        self._latencies: list[float] = []
        self._memory = (0, 0)
        self._operators: tuple[MeasuredOperator, ...] = ()
        self._operators_note = ""

    @property
    def measured(self) -> bool:
        """True if nothing has failed so far."""
        return self._failure is None and not self._skipped

    def load(self) -> None:
        """End the previous process, load the artefact in a fresh one and run it once."""
        if self.measured:
            self.close()
            with self._failures():
                self._load()

    def warm_up(self) -> None:
        """Run it a few times without recording."""
        if self._protocol.warm_ups:
            self._turn(self._protocol.warm_ups)

    def run(self) -> None:
        """Run it once and record the time."""
        self._latencies += self._turn(1)

    def finish(self) -> None:
        """Record memory and operator times, and end the process."""
        if self._session is None:
            return
        # Read memory first: some runtimes load the artefact a second time to profile it.
        self._memory = (self._session.peak_memory_bytes, self._session.model_memory_bytes)
        if self._protocol.operator_runs:
            self._session.resume()
            try:
                measured = self._session.operator_times(None, self._protocol.operator_runs)
                self._operators = tuple(measured)
                self._operators_note = self._session.operators_note
            except EdgeSdkError as error:
                # The timed runs are valid; only the operator times are missing.
                self._operators_note = f"none: {error.message}"
        else:
            self._operators_note = "not requested"
        self.close()

    def close(self) -> None:
        """End the process, if any."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except EdgeSdkError as error:
            self._failure = error
            self.close()

    def _load(self) -> None:
        if not self._protocol.include_evaluators:
            self._skipped = _stand_in(self.case.path)
            if self._skipped:
                return
        session = self._session = open_isolated(
            self.case.path,
            threads=self._protocol.threads,
            inputs=self.case.input_specs,
            outputs=self.case.output_specs,
            timeout=self._protocol.timeout,
            memory_limit=self._protocol.memory_limit,
        )
        self._runtime, self._evaluator = session.runtime, session.evaluator
        if session.evaluator and not self._protocol.include_evaluators:
            self._skipped = session.note or f"{session.runtime} is an evaluator"
            self.close()
            return
        self._loads.append(session.load_ms)
        self._first_runs += session.run_timed(self.case.inputs, 1)
        session.pause()

    def _turn(self, runs: int) -> list[float]:
        if self._session is None:
            return []
        with self._failures():
            self._session.resume()
            times = self._session.run_timed(None, runs)
            self._session.pause()
            return times
        return []

    def measurement(self, heat: tuple[float, float] | None, protocol: str) -> Measurement:
        if not self.measured:
            return Measurement(self.case, failure=self._failure, skipped=self._skipped)
        peak, model = self._memory
        figures = Figures(
            runtime=self._runtime,
            evaluator=self._evaluator,
            loads_ms=tuple(self._loads),
            first_runs_ms=tuple(self._first_runs),
            latencies_ms=tuple(self._latencies),
            peak_memory_bytes=peak,
            model_memory_bytes=model,
            operators=self._operators,
            operators_note=self._operators_note,
            temperature_c=heat,
        )
        return Measurement(self.case, protocol=protocol, figures=figures)


def _stand_in(path: Path) -> str:
    """Return why no native runtime here can run this file; empty if one may.

    The session knows this too, but only after importing coremltools, which takes many seconds.
    """
    if path.suffix.lower() == ".mlpackage" and sys.platform != "darwin":
        return (
            "Core ML runs on Apple systems only; the evaluator used elsewhere says nothing about "
            "the speed of a phone"
        )
    return ""


def _in_words(protocol: Protocol, together: int) -> str:
    turns = (
        f"alternating between {together} artefacts in a balanced order"
        if together > 1
        else "one after the other"
    )
    return (
        f"{protocol.cold_loads} loads, each in a fresh process with the file in the system's "
        f"cache, imports excluded; {protocol.warm_ups} warm-ups after the first run; "
        f"{protocol.runs} timed runs {turns}, one inference at a time on "
        f"{protocol.threads} thread{'' if protocol.threads == 1 else 's'}"
    )
