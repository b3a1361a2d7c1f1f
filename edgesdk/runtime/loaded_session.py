"""Base class of in-process sessions: closed state, load time, and copies of the results."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgesdk.errors import SessionError, UsageError
from edgesdk.runtime.declared_specs import declared_specs
from edgesdk.runtime.session import MeasuredOperator, Session, bind_inputs
from edgesdk.spec import TensorSpec

__all__ = ["UNBOUNDED", "LoadedSession", "owned_array"]

#: Upper bound of a free dimension, for which a file gives none.
UNBOUNDED = 65536


class LoadedSession(Session):
    """A session whose runtime lives in this process. Not thread safe: one thread at a time.

    Attributes:
        path: The artefact.
        threads: Number of runtime threads.
        load_seconds: Duration of the runtime's load, without our checks.
        operators_note: Source of the times of :meth:`operator_times`, or the reason for none.
    """

    operators_note: str = ""
    load_seconds: float = 0.0

    def __init__(
        self,
        path: Path,
        threads: int,
        inputs: Sequence[TensorSpec] | None = None,
        outputs: Sequence[TensorSpec] | None = None,
    ) -> None:
        self.path = path
        self.threads = threads
        self._closed = False
        self._declared_inputs = inputs
        self._declared_outputs = outputs
        found, results = self._open()
        self.inputs = declared_specs("input", found, inputs)
        self.outputs = declared_specs("output", results, outputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one inference; see :meth:`edgesdk.runtime.session.Session.run`.

        Returns:
            Arrays by output name; the caller owns their memory.

        Raises:
            EdgeSdkError: See there; or the session is closed.
        """
        self._require_open()
        return super().run(inputs)

    def operator_times(
        self, inputs: Mapping[str, np.ndarray], runs: int = 5
    ) -> Sequence[MeasuredOperator]:
        """Measure the median milliseconds per operator over ``runs`` runs, in execution order.

        Returns:
            The times; empty if the runtime gives none, for the reason in ``operators_note``.

        Raises:
            SessionError: The session is closed, or the runtime failed.
            UsageError: ``runs`` is below 1.
        """
        self._require_open()
        if runs < 1:
            raise UsageError(f"cannot measure over {runs} runs", remedy="use at least 1")
        return self._operator_times(bind_inputs(self.inputs, inputs), runs)

    def close(self) -> None:
        """Free the artefact. Closing twice is allowed."""
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
    def _open(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        """Load the artefact; return the inputs and outputs of the file. Called once."""

    @abc.abstractmethod
    def _release(self) -> None:
        """Release native objects. Called once."""


def owned_array(array: np.ndarray) -> np.ndarray:
    """Return a contiguous copy that shares no memory with the runtime."""
    # ascontiguousarray would turn a scalar into a vector.
    return np.array(array, copy=True, order="C")
