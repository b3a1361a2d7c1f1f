"""Load the weights inside the package into their networks."""

from __future__ import annotations

import torch
from torch import nn

from edgesdk.errors import UsageError, WeightsDamagedError
from edgesdk.models.weight_cards import REINSTALL, shipped_path

__all__ = ["load_shipped"]


def load_shipped(model: nn.Module, name: str, part: str = "") -> None:
    """Load weights of the package into a network, in its own precision.

    Args:
        model: Network of the architecture that the weights belong to.
        name: Name of the weights file.
        part: Name of the network, if the file holds several.

    Raises:
        UsageError: The weights do not fit ``model``.
        WeightsDamagedError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = shipped_path(name)
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsDamagedError(f"cannot read {path.name}: {error}", remedy=REINSTALL) from error
    if part:
        inside = f"{part}."
        found = {
            key.removeprefix(inside): value
            for key, value in found.items()
            if key.startswith(inside)
        }
    mine = model.state_dict()
    if {key: value.shape for key, value in found.items()} != {
        key: value.shape for key, value in mine.items()
    }:
        raise UsageError(
            f"the weights of {name} fit only the network they were trained with",
            remedy="pass pretrained=False, or leave every other option at its default",
        )
    for key, value in found.items():
        if not torch.isfinite(value).all():
            raise WeightsDamagedError(
                f"{path.name}: {key} has values that are not finite", remedy=REINSTALL
            )
    model.load_state_dict({key: value.to(mine[key].dtype) for key, value in found.items()})
