"""The paintings of a stylizer before and after conversion, and how far its style moved."""

from __future__ import annotations

__all__: list[str] = []
