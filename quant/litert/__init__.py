"""LiteRT: Google's quantizer, its file read back."""

from __future__ import annotations

__all__: list[str] = []
