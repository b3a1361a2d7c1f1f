"""The cost of a model, counted, and the time and memory of its artefacts, measured."""

from __future__ import annotations

__all__: list[str] = []
