"""Suppress torch's output while it traces a model."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

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
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
