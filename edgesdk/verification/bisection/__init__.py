"""The search for the first operator at which an artefact departs from its model."""

from __future__ import annotations

__all__: list[str] = []
