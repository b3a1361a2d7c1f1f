"""The command line: one small module a verb, no logic."""

from __future__ import annotations

from edgesdk.cli.main import main

__all__ = ["main"]
