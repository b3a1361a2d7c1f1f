"""The model zoo: published networks whose widths are all configurable.

Importing this package does not import torch, so listing the zoo is fast.
"""

from __future__ import annotations

from edgesdk.models.registry import create, entry, names
from edgesdk.models.zoo_entry import ZooEntry

__all__ = ["ZooEntry", "create", "entry", "names"]
