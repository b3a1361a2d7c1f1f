"""Remove channels from a copy of a model, or silence them.

Removed channels are plain data: the positions that each layer loses on each side. They can be
sent to another process and applied to a newly built model without tracing it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import nn

from edgesdk.errors import PruningError
from edgesdk.pruning.layers import cut_in, cut_out, mask_in, widths

__all__ = [
    "RemovedChannels",
    "drops_to_json",
    "masked_copy",
    "merge",
    "pruned_copy",
    "same_outputs",
]

#: ``(module path, "in" or "out")`` -> removed positions. Layers with one side are cut on ``out``.
RemovedChannels: TypeAlias = "dict[tuple[str, str], set[int]]"

#: Largest difference, relative to the range of the original's output.
_TOLERANCE = 1e-5


def merge(parts: Iterable[RemovedChannels]) -> RemovedChannels:
    """Combine several sets of removed channels."""
    merged: RemovedChannels = {}
    for part in parts:
        for key, positions in part.items():
            merged.setdefault(key, set()).update(positions)
    return merged


def drops_to_json(drops: RemovedChannels) -> dict[str, dict[str, list[int]]]:
    """Convert removed channels to JSON: layer -> side -> sorted positions."""
    plain: dict[str, dict[str, list[int]]] = {}
    for (layer, side), positions in sorted(drops.items()):
        if positions:
            plain.setdefault(layer, {})[side] = sorted(positions)
    return plain


def pruned_copy(model: nn.Module, drops: RemovedChannels) -> nn.Module:
    """Return a copy without some channels.

    Example:
        >>> group = find_channels(model, inputs).groups[0]
        >>> smaller = pruned_copy(model, group.drops([0, 3]))

    Args:
        model: Model the removal was computed for, or one built the same way; left unchanged.
        drops: Channels to remove.

    Raises:
        PruningError: A layer is absent, lacks a position or would lose all channels.
    """
    pruned = copy.deepcopy(model)
    steps = []
    # Outputs first: cutting the inputs of a grouped convolution needs its final rows.
    for path, side in sorted(drops, key=lambda key: (key[1] == "in", key[0])):
        layer, positions = _layer(pruned, path), drops[path, side]
        width = widths(layer)[0 if side == "in" else 1]
        if positions and not max(positions) < width:
            raise PruningError(
                f"{path} has {width} channels, not {max(positions) + 1}",
                remedy="apply the removal to the model it was computed for",
            )
        if len(positions) >= width:
            raise PruningError(
                f"{path} would lose all its {width} channels", remedy="keep at least one"
            )
        if positions:
            steps.append((layer, side, [k for k in range(width) if k not in positions]))
    for layer, side, keep in steps:
        (cut_in if side == "in" else cut_out)(layer, keep)
    return pruned


def masked_copy(model: nn.Module, drops: RemovedChannels) -> nn.Module:
    """Return a copy in which no layer reads the channels that :func:`pruned_copy` removes.

    Example:
        >>> group = find_channels(model, inputs).groups[0]
        >>> silent = masked_copy(model, group.drops([0, 3]))
    """
    silent = copy.deepcopy(model)
    for (path, side), positions in drops.items():
        if side == "in":
            mask_in(_layer(silent, path), sorted(positions))
    return silent


def same_outputs(
    expected: list[torch.Tensor], found: list[torch.Tensor], scale: list[torch.Tensor]
) -> bool:
    """Return True if outputs agree within 1e-5 of the largest magnitude in ``scale``."""
    if [value.shape for value in expected] != [value.shape for value in found]:
        return False
    for wanted, value, reference in zip(expected, found, scale, strict=True):
        if not wanted.is_floating_point():
            if not torch.equal(wanted, value):
                return False
            continue
        limit = _TOLERANCE * max(1e-6, reference.detach().abs().max().item())
        if not bool((wanted - value).abs().max() <= limit):
            return False
    return True


def _layer(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise PruningError(
            f"the model has no layer {path}",
            remedy="apply the removal to the model it was computed for",
        ) from error
