"""Fake quantization: a float program with simulated rounding, switchable per layer."""

from __future__ import annotations

__all__: list[str] = []
