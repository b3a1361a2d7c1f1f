"""Converters from captured programs to artefacts, one module per target, behind a registry."""

from __future__ import annotations

from edgesdk.converters.registry import TARGETS, Target, parse_target

__all__ = ["TARGETS", "Target", "parse_target"]
