"""What every in-process session shares: a closed state, load time, and copies of the results."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgesdk.errors import SessionError, UsageError
from edgesdk.runtime.session import MeasuredOperator, Session, bind_inputs

__all__ = ["LoadedSession", "owned_array"]


class LoadedSession(Session):
    """A session whose runtime lives in this process. Not thread safe: one thread at a time.

    Attributes:
        path: The artefact.
        threads: Threads the runtime was given.
        load_seconds: Time the runtime itself took to load the artefact, without our checks.
        operators_note: Where the times of :meth:`operator_times` come from, or why it has none.
    """

    operators_note: str = ""
    load_seconds: float = 0.0

    def __init__(self, path: Path, threads: int) -> None:
        self.path = path
        self.threads = threads
        self._closed = False

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one inference; see :meth:`edgesdk.runtime.session.Session.run`.

        Returns:
            One array an output, by name; the caller's own memory.

        Raises:
            SessionError: The session is closed, or the runtime failed.
            InputSpecError: A missing input, a wrong shape or a dtype that would lose values.
            UnknownNameError: An input that the artefact does not have.
        """
        self._require_open()
        return super().run(inputs)

    def operator_times(
        self, inputs: Mapping[str, np.ndarray], runs: int = 5
    ) -> Sequence[MeasuredOperator]:
        """Median time an operator over ``runs`` runs, in milliseconds, in execution order.

        Returns:
            Empty where the runtime does not tell; ``operators_note`` then says why.

        Raises:
            SessionError: The session is closed, or the runtime failed.
            UsageError: ``runs`` is below 1.
        """
        self._require_open()
        if runs < 1:
            raise UsageError(f"cannot measure over {runs} runs", remedy="use at least 1")
        return self._operator_times(bind_inputs(self.inputs, inputs), runs)

    def close(self) -> None:
        """Free the artefact. A closed session cannot run; closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._release()

    def _require_open(self) -> None:
        if self._closed:
            raise SessionError(
                f"the session of {self.path.name} is closed",
                remedy="open it again with edgesdk.runtime.open",
            )

    def _operator_times(self, arrays: list[np.ndarray], runs: int) -> Sequence[MeasuredOperator]:
        return ()

    @abc.abstractmethod
    def _release(self) -> None:
        """Drop everything native. Called once."""


def owned_array(array: np.ndarray) -> np.ndarray:
    """A contiguous copy that shares nothing with the runtime's memory."""
    # ascontiguousarray would turn a scalar into a vector of one.
    return np.array(array, copy=True, order="C")
