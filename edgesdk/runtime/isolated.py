"""Sessions in separate processes: a crash or hang there does not affect this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.errors import SessionCrashError, SessionError, UsageError
from edgesdk.host.processes import (
    ChildDied,
    ChildFailure,
    ChildMemoryLimit,
    ChildProcess,
    ChildTimeout,
    Reply,
)
from edgesdk.runtime.session import MeasuredOperator, Session, bind_inputs
from edgesdk.runtime.spec_json import specs_from_json, specs_to_json
from edgesdk.spec import TensorSpec

__all__ = ["IsolatedSession", "open_isolated"]

_WORKER = "edgesdk.runtime.isolated_worker"


class IsolatedSession(Session):
    """An artefact loaded in a separate process. Made by :func:`open_isolated`.

    After a crash, a hang or excessive memory use the session is closed, its process killed, and
    every further call raises :class:`~edgesdk.errors.SessionError`.

    Attributes:
        path: The artefact.
        threads: Number of runtime threads.
        load_ms: Duration of the load in milliseconds, without imports.
        first_run_ms: Duration in milliseconds of the first inference, if :meth:`run_timed` did it;
            else None.
        operators_note: Source of the times of :meth:`operator_times`, or the reason why there are
            none; empty before its first call.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int,
        inputs: Sequence[TensorSpec] | None,
        outputs: Sequence[TensorSpec] | None,
        timeout: float,
        memory_limit: int | None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.threads = threads
        self.operators_note = ""
        self.first_run_ms: float | None = None
        self._timeout = timeout
        self._has_run = False
        self._memory: dict[str, int] = {}
        self._holds = False
        self._child = ChildProcess(
            _WORKER,
            memory_limit=memory_limit,
            environment=environment,
            name=f"the runtime of {path.name}",
        )
        try:
            answer = self._ask(
                "load",
                {
                    "path": str(path.absolute()),
                    "threads": threads,
                    "inputs": None if inputs is None else specs_to_json(inputs),
                    "outputs": None if outputs is None else specs_to_json(outputs),
                },
            ).payload
            self.runtime = str(answer["runtime"])
            self.evaluator = bool(answer["evaluator"])
            self.note = str(answer["note"])
            self.inputs = specs_from_json(answer["inputs"])
            self.outputs = specs_from_json(answer["outputs"])
            self.load_ms = float(answer["load_ms"])
        except BaseException:
            self._child.close()
            raise

    def run_timed(self, inputs: Mapping[str, np.ndarray] | None, runs: int) -> list[float]:
        """Run several times; the child times the runtime's call alone.

        Args:
            inputs: Arrays by input name, sent once and kept in the child; None reuses those of the
                previous call.
            runs: Number of runs, at least 1.

        Returns:
            Milliseconds per run, in order.

        Raises:
            UsageError: ``runs`` is below 1, or None is given without a previous call.
            InputSpecError: An input is missing or has the wrong shape or a lossy dtype.
            UnknownNameError: The artefact does not have such an input.
            SessionError: The runtime failed.
            SessionCrashError: The runtime's process died or stopped responding.
        """
        if runs < 1:
            raise UsageError(f"cannot time {runs} runs", remedy="use at least 1")
        reply = self._ask_holding("timed", inputs, runs, allowance=runs)
        times = [float(value) for value in reply.payload["milliseconds"]]
        if not self._has_run:
            self._has_run, self.first_run_ms = True, times[0]
        return times

    def operator_times(
        self, inputs: Mapping[str, np.ndarray] | None, runs: int = 5
    ) -> Sequence[MeasuredOperator]:
        """Measure the median milliseconds per operator over ``runs`` runs, in execution order.

        Args:
            inputs: See :meth:`run_timed`.
            runs: Number of profiled runs, at least 1.

        Returns:
            The times; empty if the runtime gives none, for the reason in ``operators_note``.

        Raises:
            EdgeSdkError: See :meth:`run_timed`.
        """
        if runs < 1:
            raise UsageError(f"cannot measure over {runs} runs", remedy="use at least 1")
        # Some runtimes load the artefact again to profile it.
        reply = self._ask_holding("operators", inputs, runs, allowance=runs + 1)
        self.operators_note = str(reply.payload["note"])
        return [
            MeasuredOperator(str(name), str(operator), float(milliseconds))
            for name, operator, milliseconds in reply.payload["operators"]
        ]

    @property
    def peak_memory_bytes(self) -> int:
        """Largest resident set of the child up to its last answer, imports included."""
        return self._memory["peak"]

    @property
    def model_memory_bytes(self) -> int:
        """Part added by loading and running: the peak minus the resident set before the load."""
        return self._memory["model"]

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    @property
    def closed(self) -> bool:
        """True if the child has ended."""
        return self._child.closed

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines that the runtime printed."""
        return self._child.log_tail(lines)

    def pause(self) -> None:
        """Stop the child, thread pools included, until :meth:`resume`."""
        self._child.pause()

    def resume(self) -> None:
        """Resume a paused child."""
        self._child.resume()

    def close(self) -> None:
        """End the child. Closing twice is allowed."""
        self._child.close()

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        reply = self._ask("run", {}, self._named(arrays))
        self._has_run = True
        return [reply.arrays[spec.name] for spec in self.outputs]

    def _named(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}

    def _ask_holding(
        self, kind: str, inputs: Mapping[str, np.ndarray] | None, runs: int, allowance: int
    ) -> Reply:
        """Ask for several runs on inputs that the child keeps; None reuses those it has."""
        if inputs is None and not self._holds:
            raise UsageError("there are no inputs of a previous call", remedy="pass inputs")
        arrays = {} if inputs is None else self._named(bind_inputs(self.inputs, inputs))
        reply = self._ask(kind, {"runs": runs, "held": inputs is None}, arrays, allowance)
        self._holds = True
        return reply

    def _ask(
        self,
        kind: str,
        payload: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
        allowance: int = 1,
    ) -> Reply:
        if self._child.closed:
            raise SessionError(
                f"the session of {self.path.name} is closed", remedy="open the artefact again"
            )
        with self._translated_failures():
            reply = self._child.request(kind, payload, arrays, timeout=self._timeout * allowance)
        for key in ("peak", "model"):
            if key in reply.payload:
                self._memory[key] = int(reply.payload[key])
        return reply

    @contextmanager
    def _translated_failures(self) -> Iterator[None]:
        try:
            yield
        except (ChildDied, ChildTimeout, ChildMemoryLimit) as error:
            remedy = error.remedy or (
                "the artefact makes its runtime crash: update the runtime, export again, or try "
                "another variant of the target"
            )
            crash = SessionCrashError(error.message, where=str(self.path), remedy=remedy)
            if error.log:
                crash.add_note(f"last output of the runtime:\n{error.log}")
            raise crash from error
        except ChildFailure as error:
            failure = SessionError(error.message, where=str(self.path))
            failure.add_note(error.traceback)
            raise failure from error


def open_isolated(
    path: str | os.PathLike[str],
    *,
    threads: int = 1,
    inputs: Sequence[TensorSpec] | None = None,
    outputs: Sequence[TensorSpec] | None = None,
    timeout: float = 60.0,
    memory_limit: int | None = None,
) -> IsolatedSession:
    """Load an artefact in a separate process.

    >>> with open_isolated("net.edge/model.onnx") as session:  # doctest: +SKIP
    ...     times = session.run_timed({"x": image}, runs=10)

    Args:
        path: A ``.pte``, ``.tflite``, ``.onnx``, ``.mlpackage`` or ``.pt2``.
        threads: Number of runtime threads, at least 1.
        inputs: Inputs of the manifest; None uses those of the file.
        outputs: Outputs of the manifest; None uses those of the file.
        timeout: Time limit in seconds of the load, imports included, and of each inference.
        memory_limit: Resident bytes allowed for the process; None for no limit.

    Raises:
        UsageError: ``threads`` or ``timeout`` is out of range.
        UnknownNameError: The suffix does not belong to an artefact.
        UnsafeFileError: A ``.pt2`` would run code when read.
        SessionError: The file does not exist, is damaged, or the runtime refuses it.
        SessionCrashError: The runtime's process died or stopped responding.
        MissingBackendError: The runtime is not installed.
    """
    if not timeout > 0:
        raise UsageError(f"cannot wait {timeout} seconds", remedy="give a time above 0")
    return IsolatedSession(
        Path(path),
        threads=threads,
        inputs=inputs,
        outputs=outputs,
        timeout=timeout,
        memory_limit=memory_limit,
    )
