"""Count the cost of a model, and measure the time and memory of its artefacts."""

from __future__ import annotations

__all__: list[str] = []
