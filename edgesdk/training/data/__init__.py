"""Read labelled images from folders, IDX files and CIFAR's binary files."""

from __future__ import annotations

from edgesdk.training.data.labelled import LabelledImages
from edgesdk.training.data.open_data import open_data
from edgesdk.training.data.splits import DataSplits

__all__ = ["DataSplits", "LabelledImages", "open_data"]
