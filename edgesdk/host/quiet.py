"""Suppress warnings and log records of libraries whose exceptions are enough."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

__all__ = ["quiet"]


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
