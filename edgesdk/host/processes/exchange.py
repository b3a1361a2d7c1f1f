"""Exchange one request and its answers over a channel that must never block for long."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Generator, Sequence

from edgesdk.host.processes.log import LogTail
from edgesdk.host.processes.wire import Message, reading

__all__ = ["Exchange"]

_SEND_PIECE = 2**20


class Exchange:
    """Send a request while reading the answers, and keep the child's log pipe empty.

    A child that prints more than a pipe holds would otherwise wait for the parent, which waits
    for the child.

    Args:
        channel: Non-blocking stream socket to the child.
        log: Output of the child.
        pieces: The encoded request.
    """

    def __init__(self, channel: socket.socket, log: LogTail, pieces: Sequence[memoryview]) -> None:
        self._channel = channel
        self._log = log
        self._unsent = list(pieces)
        self._reader: Generator[memoryview, None, Message] = reading()
        self._wanted = next(self._reader)

    def step(self, seconds: float) -> Message | None:
        """Wait up to ``seconds`` for an event, then send and receive without blocking.

        Returns:
            The next message, or None if none is complete yet.

        Raises:
            EOFError: The child closed its end.
            ProtocolError: It sent an invalid message.
        """
        poll = select.poll()
        poll.register(self._channel, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        if self._log.descriptor is not None:
            poll.register(self._log.descriptor, select.POLLIN)
        # Round up: a wait of 0.4 ms must not become a busy loop.
        happened = dict(poll.poll(int(seconds * 1000) + 1))
        if self._log.descriptor in happened:
            self._log.drain()
        events = happened.get(self._channel.fileno(), 0)
        if events & select.POLLOUT:
            self._send()
        if events & ~select.POLLOUT:
            return self._receive()
        return None

    def _send(self) -> None:
        # A dead child shows as the end of the stream, after everything it sent.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._unsent:
                count = self._channel.send(self._unsent[0][:_SEND_PIECE])
                rest = self._unsent[0][count:]
                self._unsent[:1] = [rest] if rest.nbytes else []

    def _receive(self) -> Message | None:
        try:
            while True:
                while self._wanted.nbytes:
                    count = self._channel.recv_into(self._wanted)
                    if count == 0:
                        raise EOFError("the child closed its channel")
                    self._wanted = self._wanted[count:]
                try:
                    self._wanted = next(self._reader)
                except StopIteration as done:
                    self._reader = reading()
                    self._wanted = next(self._reader)
                    return done.value
        except BlockingIOError:
            return None
        except ConnectionResetError as error:
            raise EOFError("the child closed its channel") from error
