"""Host machine: files, cache, child processes and the environment check."""

from __future__ import annotations

__all__: list[str] = []
