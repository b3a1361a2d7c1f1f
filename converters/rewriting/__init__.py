"""Rewrites of what a target cannot take into forms that it can, proven as any other artefact."""

from __future__ import annotations

__all__: list[str] = []
