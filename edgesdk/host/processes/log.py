"""The bounded memory of what a child printed."""

from __future__ import annotations

import os

__all__ = ["LogTail"]

_KEPT_BYTES = 256 * 1024
_PIECE = 64 * 1024


class LogTail:
    """The end of everything that came out of a pipe, however much it was.

    Args:
        descriptor: Read end of the pipe; this object owns it.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor: int | None = descriptor
        self._kept = bytearray()

    @property
    def descriptor(self) -> int | None:
        """The pipe while it is open, to be polled."""
        return self._descriptor

    def drain(self, pieces: int = 16) -> None:
        """Take what is there, without waiting and no more than ``pieces`` reads of 64 KiB."""
        for _ in range(pieces):
            if self._descriptor is None:
                return
            try:
                piece = os.read(self._descriptor, _PIECE)
            except BlockingIOError:
                return
            if not piece:
                self.close()
                return
            self._kept += piece
            if len(self._kept) > 2 * _KEPT_BYTES:
                del self._kept[:-_KEPT_BYTES]

    def tail(self, lines: int) -> str:
        """The last lines, without the states that a progress bar has overwritten."""
        self.drain()
        text = self._kept[-_KEPT_BYTES:].decode("utf-8", "replace").replace("\r\n", "\n")
        shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip("\n").split("\n")]
        return "\n".join(shown[-lines:]) if lines > 0 else ""

    def close(self) -> None:
        """Close the pipe and keep what was read."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
