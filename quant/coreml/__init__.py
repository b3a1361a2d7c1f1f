"""Core ML quantization: int8 programs by PT2E, weight compression by coremltools."""

from __future__ import annotations

__all__: list[str] = []
