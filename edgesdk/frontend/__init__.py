"""Load SOURCE as a model and capture it as a program."""

from __future__ import annotations

__all__: list[str] = []
