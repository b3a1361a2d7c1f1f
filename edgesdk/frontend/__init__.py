"""From what the user names (SOURCE) to a model and its captured program."""

from __future__ import annotations

__all__: list[str] = []
