"""Find training layers, switch a model to evaluation mode, and restore its modes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["evaluate", "evaluation_mode", "training_layers"]


def training_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules in training mode, by path; the model's own path is empty.

    Exported programs are skipped: only their operators show whether they train.
    """
    found: dict[str, nn.Module] = {}

    def look(module: nn.Module, path: str) -> None:
        # torch.export forbids the switch on the module itself and keeps its flag.
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
        The parts that were in training mode, such as ``the model was``; empty for none.
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
    """Keep a model in evaluation mode inside the block, then restore the mode of every module."""
    training = training_layers(model).values()
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
