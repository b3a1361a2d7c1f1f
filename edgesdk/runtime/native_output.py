"""Catching what native libraries print to file descriptor 2 while they load something."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["NativeOutput", "captured_native_output"]

_LOG = logging.getLogger(__name__)
_LOCK = threading.RLock()


class NativeOutput:
    """What was printed; ``text`` is filled when the block ends."""

    def __init__(self) -> None:
        self.text = ""


@contextmanager
def captured_native_output() -> Iterator[NativeOutput]:
    """Keep native messages out of the user's terminal while the block runs.

    File descriptor 2 and ``sys.stderr``, which some bindings forward to, belong to the whole
    process: the block must be short (a load, never an inference loop), and what another thread
    prints meanwhile is caught with it. Everything caught goes to the log at level DEBUG. Without a
    usable descriptor 2 only ``sys.stderr`` is caught.
    """
    output = NativeOutput()
    forwarded = io.StringIO()
    with _LOCK, contextlib.redirect_stderr(forwarded):
        try:
            saved = os.dup(2)
        except OSError:
            yield output
            output.text = forwarded.getvalue()
            return
        try:
            with tempfile.TemporaryFile() as file:
                os.dup2(file.fileno(), 2)
                try:
                    yield output
                finally:
                    os.dup2(saved, 2)
                    file.seek(0)
                    printed = file.read(1_000_000).decode(errors="replace")
                    output.text = printed + forwarded.getvalue()
        finally:
            os.close(saved)
    if output.text:
        _LOG.debug("native messages:\n%s", output.text)
