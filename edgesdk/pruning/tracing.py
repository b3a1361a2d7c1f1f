"""Run a user's model on example inputs without changing it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from edgesdk.errors import PruningError
from edgesdk.frontend.side_effects import copied, state_kept

__all__ = ["call", "outputs_of", "prepared_copy"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# Hooks that compute the weight of a layer: without them the weight is never updated.
_WEIGHT_HOOKS = ("WeightNorm", "SpectralNorm")


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model with a tensor, a tuple of positional or a mapping of named inputs.

    The model gets copies of the inputs; its state and all random generators are restored, so that
    two calls on one input agree.
    """
    given = copied(inputs)
    with state_kept(model):
        if isinstance(given, Mapping):
            return model(**given)
        if isinstance(given, tuple | list):
            return model(*given)
        return model(given)


def outputs_of(value: Any) -> list[torch.Tensor]:
    """Return every tensor of a nested output, in a fixed order."""
    from torch.utils import _pytree

    leaves = _pytree.tree_leaves(value)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def prepared_copy(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Copy a model to the CPU in evaluation mode, with gradients and without hooks.

    Returns:
        The copy, and notes about hooks that were not copied.

    Raises:
        PruningError: The model cannot be copied, or parametrisations or weight-normalisation hooks
            compute its weights.
    """
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise PruningError(
                f"the weights of {name or type(model).__name__} are parametrised",
                remedy="call torch.nn.utils.parametrize.remove_parametrizations first",
            )
        for hook in module._forward_pre_hooks.values():
            if type(hook).__name__ in _WEIGHT_HOOKS:
                raise PruningError(
                    f"the weights of {name or type(model).__name__} are computed by a "
                    f"{type(hook).__name__} hook",
                    remedy="remove it first (torch.nn.utils.remove_weight_norm and the like)",
                )
    try:
        copied = copy.deepcopy(model).to("cpu").eval()
    except Exception as error:
        # Copying runs user code: __deepcopy__, __reduce__ and that of any attribute.
        raise PruningError(
            f"{type(model).__name__} cannot be copied: {error}",
            remedy="remove tensors with a gradient history from its attributes",
        ) from error
    hooked = []
    for name, module in copied.named_modules():
        stores = [store for store in _HOOKS if getattr(module, store, None)]
        for store in stores:
            getattr(module, store).clear()
        if stores:
            hooked.append(name or type(model).__name__)
    for parameter in copied.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    notes = (f"hooks on {', '.join(hooked)} are not copied",) if hooked else ()
    return copied, notes
