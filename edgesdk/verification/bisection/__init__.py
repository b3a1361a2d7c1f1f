"""Search for the first operator at which an artefact deviates from its model."""

from __future__ import annotations

__all__: list[str] = []
