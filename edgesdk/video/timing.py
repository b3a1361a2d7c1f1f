"""Measure the time of a block of code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["timed"]


@contextmanager
def timed(times: object, name: str) -> Iterator[None]:
    """Add the seconds that a block takes to the attribute ``name`` of ``times``."""
    started = time.perf_counter()
    try:
        yield
    finally:
        setattr(times, name, getattr(times, name) + time.perf_counter() - started)
