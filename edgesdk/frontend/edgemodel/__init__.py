"""``.edgemodel``: a compressed model as safetensors and JSON."""

from __future__ import annotations

__all__: list[str] = []
