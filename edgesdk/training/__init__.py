"""Training of classifiers: recipes as data, labelled images, one loop, exact resume.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesdk.training.data.labelled import LabelledImages
    from edgesdk.training.data.opening import open_data
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

_HOMES = {
    "Accuracy": "evaluation",
    "Augmentation": "recipes",
    "DataSplits": "data.splits",
    "EpochRecord": "history",
    "History": "history",
    "LabelledImages": "data.labelled",
    "Progress": "history",
    "Recipe": "recipes",
    "evaluate": "evaluation",
    "fit": "loop",
    "load_recipe": "recipes",
    "open_data": "data.opening",
    "recipe": "recipes",
    "recipe_names": "recipes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgesdk.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgesdk.training.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
