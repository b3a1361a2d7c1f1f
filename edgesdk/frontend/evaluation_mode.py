"""Evaluation mode of a model: found, switched on, kept for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["evaluate", "evaluation_mode", "training_layers"]


def training_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that are in training mode, by path; the model's own path is empty.

    An exported program in it has no modes: whether it trains is seen in its operators alone.
    """
    found: dict[str, nn.Module] = {}

    def look(module: nn.Module, path: str) -> None:
        # torch.export forbids the switch on the module itself, and leaves its flag as it was.
        if isinstance(module, torch.fx.GraphModule) and "train" in vars(module):
            return
        if module.training:
            found[path] = module
        for name, child in module.named_children():
            look(child, f"{path}.{name}".lstrip("."))

    look(model, "")
    return found


def evaluate(model: nn.Module) -> str:
    """Switch a model to evaluation mode, in place.

    Returns:
        What was in training mode, such as ``the model was``; empty where nothing was.
    """
    training = training_layers(model)
    if not training:
        return ""
    try:
        model.eval()
    except NotImplementedError:
        for module in training.values():
            module.training = False
    if "" in training:
        return "the model was"
    return "1 layer was" if len(training) == 1 else f"{len(training)} layers were"


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Keep a model in evaluation mode meanwhile; afterwards every module has its own mode again."""
    training = training_layers(model).values()
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
