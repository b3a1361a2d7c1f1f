"""Capture output of native libraries to file descriptor 2."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["NativeOutput", "captured_native_output"]

_LOG = logging.getLogger(__name__)
_LOCK = threading.RLock()


@dataclass
class NativeOutput:
    """Captured output; ``text`` is set when the block ends."""

    text: str = ""


@contextmanager
def captured_native_output() -> Iterator[NativeOutput]:
    """Capture native messages while the block runs.

    File descriptor 2 and ``sys.stderr``, which some bindings forward to, belong to the whole
    process: the block must be short (a load, never an inference loop), and output of other threads
    is captured as well. The output goes to the log at level DEBUG. Without a usable descriptor 2,
    only ``sys.stderr`` is captured.
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
