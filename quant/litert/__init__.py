"""LiteRT quantization by Google's quantizer, and simulation of the file."""

from __future__ import annotations

__all__: list[str] = []
