"""Sessions in a process of their own: what crashes or hangs there leaves this process whole."""

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
    """An artefact loaded in a process of its own. Made by :func:`open_isolated`.

    After a crash, a hang or too much memory the session is closed, its process gone, and every
    further call raises :class:`~edgesdk.errors.SessionError`.

    Attributes:
        path: The artefact.
        threads: Threads the runtime was given.
        load_ms: Time the runtime took to load the artefact, in milliseconds, without imports.
        first_run_ms: The first inference after the load in milliseconds, where :meth:`run_timed`
            did it; else None.
        operators_note: Where the times of :meth:`operator_times` come from, or why it has none;
            empty before its first call.
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
            told = self._ask(
                "load",
                {
                    "path": str(path.absolute()),
                    "threads": threads,
                    "inputs": None if inputs is None else specs_to_json(inputs),
                    "outputs": None if outputs is None else specs_to_json(outputs),
                },
            ).payload
            self.runtime = str(told["runtime"])
            self.evaluator = bool(told["evaluator"])
            self.note = str(told["note"])
            self.inputs = specs_from_json(told["inputs"])
            self.outputs = specs_from_json(told["outputs"])
            self.load_ms = float(told["load_ms"])
        except BaseException:
            self._child.close()
            raise

    def run_timed(self, inputs: Mapping[str, np.ndarray] | None, runs: int) -> list[float]:
        """Run several times and time each run inside the child, around the runtime's call alone.

        Args:
            inputs: One array an input, by name, sent once and kept in the child; None for those
                of the call before.
            runs: How often, at least 1.

        Returns:
            Milliseconds a run, in order.

        Raises:
            UsageError: No runs, or None without inputs of a call before.
            InputSpecError: A missing input, a wrong shape or a dtype that would lose values.
            UnknownNameError: An input that the artefact does not have.
            SessionError: The runtime failed.
            SessionCrashError: The runtime's process died or stopped answering.
        """
        if runs < 1:
            raise UsageError(f"cannot time {runs} runs", remedy="use at least 1")
        arrays = self._to_hold(inputs)
        payload = {"runs": runs, "held": inputs is None}
        reply = self._ask("timed", payload, arrays, allowance=runs)
        self._holds = True
        times = [float(value) for value in reply.payload["milliseconds"]]
        if not self._has_run:
            self._has_run, self.first_run_ms = True, times[0]
        return times

    def operator_times(
        self, inputs: Mapping[str, np.ndarray] | None, runs: int = 5
    ) -> Sequence[MeasuredOperator]:
        """Median time an operator over ``runs`` runs, in milliseconds, in execution order.

        Args:
            inputs: As for :meth:`run_timed`.
            runs: Profiled runs, at least 1.

        Returns:
            Empty where the runtime does not tell; ``operators_note`` then says why.

        Raises:
            UsageError: No runs, or None without inputs of a call before.
            InputSpecError: A missing input, a wrong shape or a dtype that would lose values.
            UnknownNameError: An input that the artefact does not have.
            SessionError: The runtime failed.
            SessionCrashError: The runtime's process died or stopped answering.
        """
        if runs < 1:
            raise UsageError(f"cannot measure over {runs} runs", remedy="use at least 1")
        arrays = self._to_hold(inputs)
        # Some runtimes load the artefact a second time to profile it.
        reply = self._ask("operators", {"runs": runs, "held": inputs is None}, arrays, runs + 1)
        self._holds = True
        self.operators_note = str(reply.payload["note"])
        return [
            MeasuredOperator(str(name), str(operator), float(milliseconds))
            for name, operator, milliseconds in reply.payload["operators"]
        ]

    @property
    def peak_memory_bytes(self) -> int:
        """Largest resident set of the child until its last answer, imports included."""
        return self._memory["peak"]

    @property
    def model_memory_bytes(self) -> int:
        """What loading and running added to it: the peak since then, less the resident set after
        the runtime's import and before the load.
        """
        return self._memory["model"]

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    @property
    def closed(self) -> bool:
        """Whether the child is gone."""
        return self._child.closed

    def log_tail(self, lines: int = 40) -> str:
        """The last lines that the runtime printed."""
        return self._child.log_tail(lines)

    def pause(self) -> None:
        """Stop the child where it stands, thread pools included, until :meth:`resume`."""
        self._child.pause()

    def resume(self) -> None:
        """Let a paused child go on."""
        self._child.resume()

    def close(self) -> None:
        """End the child. Closing twice is allowed."""
        self._child.close()

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        named = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        reply = self._ask("run", {}, named)
        self._has_run = True
        return [reply.arrays[spec.name] for spec in self.outputs]

    def _to_hold(self, inputs: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        if inputs is None:
            if not self._holds:
                raise UsageError("there are no inputs of a call before", remedy="pass inputs")
            return {}
        arrays = bind_inputs(self.inputs, inputs)
        return {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}

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
                crash.add_note(f"the runtime printed last:\n{error.log}")
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
    """Load an artefact in a process of its own.

    Args:
        path: A ``.pte``, ``.tflite``, ``.onnx``, ``.mlpackage`` or ``.pt2``.
        threads: Threads of the runtime, at least 1.
        inputs: What the manifest says of the inputs; None for what the file says.
        outputs: What the manifest says of the outputs; None for what the file says.
        timeout: Seconds for the load, imports included, and for every single inference.
        memory_limit: Bytes the process may hold resident; None for no limit.

    Raises:
        UsageError: ``threads`` or ``timeout`` is out of range.
        UnknownNameError: A suffix that belongs to no artefact.
        UnsafeFileError: A ``.pt2`` that would run code when read.
        SessionError: No such file, a damaged one, or one the runtime refuses.
        SessionCrashError: The runtime's process died or stopped answering.
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
