"""Find and build the networks of the zoo by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.models.catalogue import ENTRIES
from edgesdk.models.zoo_entry import ZooEntry
from edgesdk.near_names import nearest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SEED", "ZooEntry", "create", "entry", "names"]

#: Seed of the random weights of untrained networks.
SEED = 20200927


def names() -> tuple[str, ...]:
    """Return the names of all networks, sorted.

    Example:
        >>> from edgesdk import models
        >>> [name for name in models.names() if models.entry(name).weights]
    """
    return tuple(sorted(ENTRIES))


def entry(name: str) -> ZooEntry:
    """Return the description of a network without importing torch.

    Example:
        >>> from edgesdk import models
        >>> models.entry("multi_style").styles

    Raises:
        UnknownNameError: The zoo does not have this network.
    """
    found = ENTRIES.get(name)
    if found is None:
        raise UnknownNameError("model", name, names())
    return found


def create(name: str, **config: Any) -> nn.Module:
    """Build a network of the zoo, in evaluation mode.

    An untrained network gets the same random weights every time, and batch-normalisation
    statistics of one random batch, so that activations stay at unit scale. The global random
    state is not changed. ``create(name, **model.config)`` rebuilds the architecture of ``model``.

    Example:
        >>> from edgesdk import models
        >>> small = models.create("resnet20", stem_width=8)

    Args:
        name: See :func:`names`.
        **config: Options of the network's class that differ from the published network.

    Raises:
        MissingBackendError: The package with its trained weights is not installed.
        UnknownNameError: The zoo does not have this network.
        UsageError: An option does not exist or has an invalid value.
    """
    found = entry(name)
    import torch

    from edgesdk.models.initialisation import calibrate_batch_norm

    module_name, _, class_name = found.factory.partition(":")
    factory = getattr(importlib.import_module(module_name), class_name)
    options = {**found.config, **config}
    _check_keys(name, options, inspect.signature(factory).parameters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = factory(**options).eval()
        if not options.get("pretrained"):
            calibrate_batch_norm(model, _random_inputs(found, model.config))
    return model


def _check_keys(name: str, options: Mapping[str, object], valid: Mapping[str, object]) -> None:
    for key in options:
        if key not in valid:
            close = nearest(key, valid)
            hint = f"did you mean {close!r}? " if close else ""
            raise UsageError(
                f"{name} has no option {key!r}",
                remedy=f"{hint}its options are {', '.join(valid)}",
            )


#: Options that change the number of channels of an input.
_CHANNEL_OPTIONS = ("in_channels", "channels")
# Large enough for stable statistics, small enough to build a network quickly.
_CALIBRATION_SIDE = 112
_CALIBRATION_PIXELS = 16384


def _random_inputs(found: ZooEntry, config: Mapping[str, Any]) -> list[Any]:
    """Return a batch of normal noise for each input, in the shape of this configuration."""
    import torch

    shapes = []
    for spec in found.inputs:
        channels, side = spec.shape[1], spec.shape[-1]
        if side == 1:
            # The option with the length of a vector has the input's name in the plural.
            shapes.append((config.get(f"{spec.name}s", channels), side))
            continue
        for option in (*_CHANNEL_OPTIONS, f"{spec.name}_channels"):
            channels = config.get(option, channels)
        shapes.append((channels, config.get("image_size", min(side, _CALIBRATION_SIDE))))
    batch = max(2, _CALIBRATION_PIXELS // max(side for _, side in shapes) ** 2)
    return [torch.randn(batch, channels, side, side) for channels, side in shapes]
