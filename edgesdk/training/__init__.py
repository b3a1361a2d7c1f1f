"""Train classifiers from recipes and labelled images, with exact resume.

Heavy packages are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from edgesdk.training.data.labelled import LabelledImages
    from edgesdk.training.data.open_data import open_data
    from edgesdk.training.data.splits import DataSplits
    from edgesdk.training.evaluation import Accuracy, evaluate
    from edgesdk.training.history import EpochRecord, History, Progress
    from edgesdk.training.loop import fit
    from edgesdk.training.recipes import Augmentation, Recipe, load_recipe, recipe, recipe_names

__all__ = [
    "Accuracy",
    "Augmentation",
    "DataSplits",
    "EpochRecord",
    "History",
    "LabelledImages",
    "Progress",
    "Recipe",
    "evaluate",
    "fit",
    "load_recipe",
    "open_data",
    "recipe",
    "recipe_names",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".data.labelled": ("LabelledImages",),
        ".data.open_data": ("open_data",),
        ".data.splits": ("DataSplits",),
        ".evaluation": ("Accuracy", "evaluate"),
        ".history": ("EpochRecord", "History", "Progress"),
        ".loop": ("fit",),
        ".recipes": ("Augmentation", "Recipe", "load_recipe", "recipe", "recipe_names"),
    },
)
