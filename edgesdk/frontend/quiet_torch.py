"""Suppress torch's output while it traces a model."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator

from edgesdk.host.quiet import quiet

__all__ = ["quiet_torch"]


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Suppress warnings, logs and ``sys.stderr`` in the whole process.

    On failure ``torch.export`` prints the partial graph twice, although the exception is enough.
    With ``TORCH_LOGS`` set, nothing is suppressed.
    """
    if os.environ.get("TORCH_LOGS"):
        yield
        return
    with quiet(logging.ERROR), contextlib.redirect_stderr(io.StringIO()):
        yield
