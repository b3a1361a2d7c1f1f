"""Check which backends and tools this machine has, and suggest a fix for each problem.

The check works when packages are missing or broken: versions come from metadata, and imports are
tried in separate processes.

>>> from edgesdk.host.environment import examine
>>> examine(quick=True).exit_code  # doctest: +SKIP
0
"""

from __future__ import annotations

from edgesdk.host.environment.examination import examine
from edgesdk.host.environment.findings import Backend, Examination, Finding, Machine, Package, Tool

__all__ = ["Backend", "Examination", "Finding", "Machine", "Package", "Tool", "examine"]
