"""The model zoo: published networks, every width of them configurable.

Importing this package imports no torch, so that the zoo can be listed at once.
"""

from __future__ import annotations

from edgesdk.models.registry import create, entry, names
from edgesdk.models.zoo_entry import ZooEntry

__all__ = ["ZooEntry", "create", "entry", "names"]
