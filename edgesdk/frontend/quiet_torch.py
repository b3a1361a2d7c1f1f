"""Keep what torch prints while it traces a model out of the user's sight."""

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
    """Silence warnings, logs and what goes to ``sys.stderr``, in the whole process.

    Where it gives up, ``torch.export`` prints the graph it has so far, twice, beside the exception
    that says it all. Whoever sets ``TORCH_LOGS`` wants to read that.
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
