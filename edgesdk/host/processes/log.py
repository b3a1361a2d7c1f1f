"""Bounded log of a child's output."""

from __future__ import annotations

import os

__all__ = ["LogTail"]

_KEPT_BYTES = 256 * 1024
_PIECE = 64 * 1024


class LogTail:
    """Keep the end of everything read from a pipe.

    Args:
        descriptor: Read end of the pipe; this object owns it.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor: int | None = descriptor
        self._kept = bytearray()

    @property
    def descriptor(self) -> int | None:
        """Descriptor of the pipe for polling; None once closed."""
        return self._descriptor

    def drain(self, pieces: int = 16) -> None:
        """Read available data without waiting, at most ``pieces`` reads of 64 KiB."""
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
        """Return the last lines, without overwritten states of progress bars."""
        self.drain()
        text = self._kept[-_KEPT_BYTES:].decode("utf-8", "replace").replace("\r\n", "\n")
        shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip("\n").split("\n")]
        return "\n".join(shown[-lines:]) if lines > 0 else ""

    def close(self) -> None:
        """Close the pipe; keep the data read so far."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
