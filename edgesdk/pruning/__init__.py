"""Making models narrower: which channels to remove, how to remove them, and what that saves."""

from __future__ import annotations

__all__: list[str] = []
