"""A float program that rounds as a recipe says, each layer switchable."""

from __future__ import annotations

__all__: list[str] = []
