"""Run short programs with a time limit, for checks that may crash or hang."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Ended", "run_limited"]

_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Ended:
    """Result of a program.

    Attributes:
        returncode: Exit status, the negative signal number, or None after the time limit.
        stdout: The last 64 KiB of standard output.
        stderr: The last 64 KiB of standard error.
        seconds: Duration.
    """

    returncode: int | None
    stdout: str
    stderr: str
    seconds: float


def run_limited(command: Sequence[str], seconds: float) -> Ended:
    """Run ``command`` without a shell and without input, for ``seconds`` at most.

    Args:
        command: Program and arguments.
        seconds: Time limit, after which the program and everything it started are killed.

    Raises:
        OSError: The program cannot be started.
    """
    # Files, not pipes: a grandchild that outlives the program would keep a pipe open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.monotonic()
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        returncode: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                returncode = process.wait(seconds)
        finally:
            # Its own session shields it from Ctrl-C, so end it here.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return Ended(returncode, _tail(out), _tail(err), time.monotonic() - begun)


def _tail(file: BinaryIO) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    return file.read().decode("utf-8", "replace")
