"""Export: options in, bundle out."""

from __future__ import annotations

__all__: list[str] = []
