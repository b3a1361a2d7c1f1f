"""Suppress warnings, log records and prints of libraries whose exceptions are enough."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

__all__ = ["quiet", "quiet_torch"]


@contextlib.contextmanager
def quiet(level: int = logging.WARNING) -> Iterator[None]:
    """Suppress warnings, and log records up to ``level``, in the whole process."""
    before = logging.root.manager.disable
    logging.disable(max(before, level))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Suppress warnings, logs and ``sys.stderr`` in the whole process while torch traces a model.

    On failure ``torch.export`` prints the partial graph twice, although the exception is enough.
    With ``TORCH_LOGS`` set, nothing is suppressed.
    """
    if os.environ.get("TORCH_LOGS"):
        yield
        return
    with quiet(logging.ERROR), contextlib.redirect_stderr(io.StringIO()):
        yield
