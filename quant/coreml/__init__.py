"""Core ML: int8 programs by PT2E, small weights by coremltools."""

from __future__ import annotations

__all__: list[str] = []
