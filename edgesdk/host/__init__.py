"""Files, the cache, child processes and the examination of the machine that the SDK runs on."""

from __future__ import annotations

__all__: list[str] = []
