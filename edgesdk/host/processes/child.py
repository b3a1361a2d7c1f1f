"""Child side: answer requests until the parent closes the channel."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import numpy as np

from edgesdk.errors import EdgeSdkError
from edgesdk.host.processes.wire import Message, ProtocolError, encode, reading

__all__ = ["Handler", "Progress", "serve"]

#: Reports progress to the parent, as plain JSON.
Progress: TypeAlias = Callable[[dict[str, Any]], None]

#: Takes payload, arrays and a progress callback; returns payload and arrays.
Handler: TypeAlias = Callable[
    [dict[str, Any], dict[str, np.ndarray], Progress],
    tuple[dict[str, Any], dict[str, np.ndarray]],
]

_MAX_TRACEBACK = 20_000


class _HungUp(Exception):
    """The parent closed the channel."""


class _Channel:
    def __init__(self, channel: socket.socket) -> None:
        self._socket = channel

    def receive(self) -> Message:
        reader = reading()
        wanted = next(reader)
        while True:
            while wanted.nbytes:
                count = self._socket.recv_into(wanted)
                if count == 0:
                    raise _HungUp
                wanted = wanted[count:]
            try:
                wanted = next(reader)
            except StopIteration as done:
                return done.value

    def send(
        self, kind: str, payload: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None
    ) -> None:
        pieces = encode(kind, payload, arrays or {})
        try:
            for piece in pieces:
                self._socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _HungUp from error


def _die_with_parent(lifeline: int) -> None:
    # The parent never writes; the read returns when the last copy of its end is closed.
    os.read(lifeline, 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _answer(channel: _Channel, handlers: Mapping[str, Handler], request: Message) -> None:
    def progress(payload: dict[str, Any]) -> None:
        channel.send("progress", payload)

    try:
        if request.kind not in handlers:
            raise ProtocolError(f"no handler for {request.kind!r}")
        payload, arrays = handlers[request.kind](request.payload, request.arrays, progress)
        channel.send("result", payload, arrays)
    except _HungUp:
        raise
    except EdgeSdkError as error:
        channel.send("error", error.to_dict())
    except BaseException as error:  # noqa: BLE001 - vendor code raises SystemExit and worse
        text = "".join(traceback.format_exception(error))
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        failure = {"kind": kind, "message": str(error), "traceback": text[-_MAX_TRACEBACK:]}
        channel.send("failure", failure)


def serve(handlers: Mapping[str, Handler]) -> NoReturn:
    """Answer the parent's requests one after the other, then end the process.

    Call it as the last line of a module that :class:`~edgesdk.host.processes.parent.ChildProcess`
    starts. Keep the module's imports light: import heavy packages in the handlers, where a failing
    import is reported like any other failure.

    The process ends without the interpreter's teardown, which crashes or hangs with several
    vendors' libraries loaded. Handlers must finish their work before they return.

    Args:
        handlers: Handler by kind of request. An :class:`~edgesdk.errors.EdgeSdkError` they raise
            arrives in the parent as the same class, anything else as a
            :class:`~edgesdk.host.processes.failures.ChildFailure`.
    """
    lifeline, descriptor = int(sys.argv[1]), int(sys.argv[2])
    for inherited in (lifeline, descriptor):
        os.set_inheritable(inherited, False)
    watch = threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True)
    watch.start()
    channel = _Channel(socket.socket(fileno=descriptor))
    status = 0
    try:
        while True:
            _answer(channel, handlers, channel.receive())
    except _HungUp:
        pass
    except BaseException:  # noqa: BLE001 - printed to the log and reported by the exit status
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
