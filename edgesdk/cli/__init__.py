"""The command line: one small module a verb, no logic."""

from __future__ import annotations

from edgesdk.cli.app import main

__all__ = ["main"]
