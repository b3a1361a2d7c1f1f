"""``.pt2``: an exported program, read without running its code."""

from __future__ import annotations

__all__: list[str] = []
