"""Parent side: send requests to a child, monitor it, end it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgesdk.errors import EdgeSdkError
from edgesdk.host.closing import Closing
from edgesdk.host.processes.exchange import Exchange
from edgesdk.host.processes.failures import (
    ChildDied,
    ChildError,
    ChildFailure,
    ChildMemoryLimit,
    ChildTimeout,
    by_name,
    describe_exit,
)
from edgesdk.host.processes.spawn import spawn
from edgesdk.host.processes.tree import has_ended, high_water_mark, resident_bytes, wait_for_end
from edgesdk.host.processes.wire import Message, ProtocolError, encode

__all__ = ["ChildProcess", "Reply"]

#: Seconds between two checks of the child. Measuring the memory of a tree takes a few milliseconds
#: of a core, so a child without a limit, which may be in a timed run, is checked rarely.
_LOOK_WITH_LIMIT = 0.05
_LOOK_WITHOUT_LIMIT = 1.0
#: Seconds for a child that closed its channel to end by itself with its own exit status.
_GRACE = 2.0


@dataclass(frozen=True)
class Reply:
    """A child's answer.

    Attributes:
        payload: Plain JSON.
        arrays: Numeric arrays by name; they belong to the receiver.
    """

    payload: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class ChildProcess(Closing):
    """A Python module running in a separate process, killed with everything it started.

    The child leads its own session, so that Ctrl-C in a terminal reaches only the parent, which
    then ends the child. If the parent dies, the operating system kills the child's group. Output
    to stdout and stderr, native code included, goes to a bounded log. Temporary files lie in a
    folder of the child, which is deleted with it.

    One request runs at a time; a second thread waits for its turn. Close it, or use it as a
    context manager.

    Args:
        module: Importable module that ends in :func:`edgesdk.host.processes.child.serve`.
        memory_limit: Resident bytes allowed for the child and its descendants together while a
            request runs; None for no limit. Checked every 50 ms.
        environment: Variables added to the parent's own. A ``PYTHONPATH`` is searched after this
            package.
        name: Name in messages, such as ``the LiteRT converter``.

    Raises:
        MissingToolError: Python does not know the path of its interpreter.
    """

    def __init__(
        self,
        module: str,
        *,
        memory_limit: int | None = None,
        environment: Mapping[str, str] | None = None,
        name: str = "the child process",
    ) -> None:
        self.name = name
        self._memory_limit = memory_limit
        self._turn = threading.Lock()
        self._peak = 0
        self._spawned = spawn(module, environment or {})
        # Runs once: on close, on garbage collection, or when this process ends.
        self._end = weakref.finalize(self, self._spawned.end)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._spawned.process.pid

    @property
    def closed(self) -> bool:
        """True if the child was ended, by :meth:`close` or by a failed request."""
        return not self._end.alive

    @property
    def peak_memory_bytes(self) -> int:
        """Largest resident set in bytes.

        This is the larger of the system's record for the child itself (Linux) and the sums over the
        child and its descendants, measured every second of a request, or every 50 ms with a limit.
        """
        if not self.closed:
            self._peak = max(self._peak, high_water_mark(self.pid))
        return self._peak

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines that the child printed to stdout or stderr."""
        return self._spawned.log.tail(lines)

    def request(
        self,
        kind: str,
        payload: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        timeout: float,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> Reply:
        """Send one request and wait for its answer.

        Without an answer the child is killed: time or memory over the limit, Ctrl-C, an exception
        in ``on_progress``. After a :class:`ChildFailure` or an error of the SDK it keeps running.

        Args:
            kind: Name of the handler.
            payload: Plain JSON.
            arrays: Numeric arrays by name.
            timeout: Seconds until the child is killed; the first request includes its start.
            on_progress: Called in this thread with every progress message.

        Raises:
            ChildFailure: The handler raised an exception other than an :class:`EdgeSdkError`.
            ChildDied: The process ended, or was already closed.
            ChildTimeout: The answer did not arrive in time.
            ChildMemoryLimit: The child exceeded its memory limit.
            EdgeSdkError: The error that the handler raised.
            TypeError: The payload is not plain JSON, or an array is not numeric.
        """
        pieces = encode(kind, payload or {}, arrays or {})
        with self._turn:
            if self.closed:
                raise ChildDied(f"{self.name} is closed")
            try:
                answer = self._converse(pieces, timeout, on_progress)
            except ChildError as error:
                self.close()
                error.log = self.log_tail()
                raise
            except BaseException:
                self.close()
                raise
            if answer.kind != "result":
                raise self._raised(answer)
            return Reply(answer.payload, answer.arrays)

    def _converse(
        self,
        pieces: list[memoryview],
        timeout: float,
        on_progress: Callable[[dict[str, Any]], None] | None,
    ) -> Message:
        exchange = Exchange(self._spawned.channel, self._spawned.log, pieces)
        look_every = _LOOK_WITHOUT_LIMIT if self._memory_limit is None else _LOOK_WITH_LIMIT
        deadline = time.monotonic() + timeout
        next_look = time.monotonic() + look_every
        ended = False
        while True:
            now = time.monotonic()
            if now >= deadline:
                raise self._timed_out(timeout)
            if now >= next_look:
                # A descendant may keep an inherited channel open after the child's death.
                ended = has_ended(self.pid)
                self._look_at_memory()
                next_look = now + look_every
            try:
                message = exchange.step(min(deadline, next_look) - now)
            except (EOFError, ProtocolError) as error:
                raise self._died(error) from error
            if message is None:
                if ended:
                    raise self._died(EOFError())
            elif message.kind != "progress":
                return message
            elif on_progress is not None:
                on_progress(message.payload)

    def _look_at_memory(self) -> None:
        used = resident_bytes(self.pid)
        self._peak = max(self._peak, used)
        if self._memory_limit is not None and used > self._memory_limit:
            error = ChildMemoryLimit(
                f"{self.name} took {_megabytes(used)}, more than its limit of "
                f"{_megabytes(self._memory_limit)}",
                remedy="raise the memory limit, or use a smaller model or input",
            )
            error.limit, error.used = self._memory_limit, used
            raise error

    def _timed_out(self, timeout: float) -> ChildError:
        error = ChildTimeout(
            f"{self.name} did not answer within {timeout:g} s",
            remedy="raise the time limit if the work may really take that long",
        )
        error.seconds = timeout
        return error

    def _died(self, cause: Exception) -> ChildError:
        if isinstance(cause, ProtocolError):
            return ChildDied(f"{self.name} sent an invalid message: {cause}")
        if not wait_for_end(self.pid, _GRACE):
            return ChildDied(f"{self.name} closed its channel without an answer")
        self.close()
        error = ChildDied(f"{self.name} died: {describe_exit(self._spawned.process.returncode)}")
        error.returncode = self._spawned.process.returncode
        return error

    def _raised(self, answer: Message) -> EdgeSdkError:
        fields = {
            key: None if value is None else str(value) for key, value in answer.payload.items()
        }
        if answer.kind == "error":
            return by_name(
                fields.get("error") or "",
                fields.get("message") or "",
                where=fields.get("where"),
                remedy=fields.get("remedy"),
            )
        kind, detail = fields.get("kind") or "", fields.get("message") or ""
        error = ChildFailure(f"{self.name} failed: {kind.removeprefix('builtins.')}: {detail}")
        error.kind, error.detail, error.traceback = kind, detail, fields.get("traceback") or ""
        error.log = self.log_tail()
        return error

    def pause(self) -> None:
        """Stop every thread of the child until :meth:`resume`.

        Thread pools spin for milliseconds after their work and would disturb other measurements. A
        request to a paused child runs into its time limit.
        """
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a paused child."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if not self.closed:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def close(self) -> None:
        """Kill the child and everything it started. Closing twice is allowed.

        Nothing runs between two requests, and vendors' libraries may hang in an orderly shutdown.
        """
        if not self.closed:
            self._peak = self.peak_memory_bytes
            self._end()


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
