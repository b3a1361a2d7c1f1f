"""Remove channels from a copy of a model, or silence them.

Removed channels are plain data: the positions that each layer loses on each side. They can be
written as JSON, sent to another process and applied to a newly built model without tracing it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import nn

from edgesdk.errors import PruningError
from edgesdk.pruning.layers import cut_in, cut_out, mask_in, widths

__all__ = [
    "RemovedChannels",
    "drops_from_json",
    "drops_to_json",
    "mask",
    "masked_copy",
    "merge",
    "prune",
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


def drops_from_json(plain: Mapping[str, Mapping[str, Iterable[int]]]) -> RemovedChannels:
    """Read removed channels from the JSON of :func:`drops_to_json`.

    Raises:
        PruningError: The JSON has another structure.
    """
    drops: RemovedChannels = {}
    try:
        for layer, sides in plain.items():
            for side, positions in sides.items():
                if side not in ("in", "out"):
                    raise ValueError(side)
                drops[str(layer), side] = {int(position) for position in positions}
    except (AttributeError, TypeError, ValueError) as error:
        raise PruningError(
            f"the record of removed channels is invalid: {error}", remedy="prune the model again"
        ) from error
    return drops


def prune(model: nn.Module, drops: RemovedChannels) -> None:
    """Remove channels in place.

    Args:
        model: Model the removal was computed for, or one built the same way.
        drops: Channels to remove.

    Raises:
        PruningError: A layer is absent, lacks a position or would lose all channels; the model is
            then unchanged.
    """
    plan = [(_layer(model, path), path, side, drops[path, side]) for path, side in _ordered(drops)]
    steps = []
    for layer, path, side, positions in plan:
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


def mask(model: nn.Module, drops: RemovedChannels) -> None:
    """Silence in place the channels that :func:`prune` would remove: no layer reads them."""
    for (path, side), positions in drops.items():
        if side == "in":
            mask_in(_layer(model, path), sorted(positions))


def pruned_copy(model: nn.Module, drops: RemovedChannels) -> nn.Module:
    """Return a copy without the channels; see :func:`prune`.

    Example:
        >>> group = find_channels(model, inputs).groups[0]
        >>> smaller = pruned_copy(model, group.drops([0, 3]))
    """
    pruned = copy.deepcopy(model)
    prune(pruned, drops)
    return pruned


def masked_copy(model: nn.Module, drops: RemovedChannels) -> nn.Module:
    """Return a copy in which the channels are silent; see :func:`mask`.

    Example:
        >>> group = find_channels(model, inputs).groups[0]
        >>> silent = masked_copy(model, group.drops([0, 3]))
    """
    silent = copy.deepcopy(model)
    mask(silent, drops)
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


def _ordered(drops: RemovedChannels) -> list[tuple[str, str]]:
    # Outputs first: cutting the inputs of a grouped convolution needs its final rows.
    return sorted(drops, key=lambda key: (key[1] == "in", key[0]))


def _layer(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise PruningError(
            f"the model has no layer {path}",
            remedy="apply the removal to the model it was computed for",
        ) from error
