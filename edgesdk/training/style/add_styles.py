"""Add styles to a trained network by training only their own vectors.

Dumoulin, Shlens and Kudlur, ICLR 2017, section 3.2: the convolutions of a multi-style network suit
unseen paintings; a new style adds only a scale and a shift per channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import UsageError
from edgesdk.models.multi_style import MultiStyleNet, StyleNorm

__all__ = ["learn_styles_from", "with_more_styles"]


def with_more_styles(model: MultiStyleNet, names: Sequence[str]) -> MultiStyleNet:
    """Return a copy of a trained network with more styles.

    Args:
        model: Trained network; left as it is.
        names: Names of the new styles.

    Returns:
        A network that paints the old styles as before, bit for bit; each new style starts as the
        mean of the old ones.

    Raises:
        UsageError: The model is not a multi-style network, or already has a style of that name.
    """
    if not isinstance(model, MultiStyleNet):
        raise UsageError(
            f"{type(model).__name__} has no styles to add to",
            remedy="name a network that `edgesdk train style` made",
        )
    count = model.config["styles"]
    before = model.config["style_names"] or [f"style-{number}" for number in range(count)]
    known = [name for name in names if name in before]
    if known:
        raise UsageError(
            f"the network has the style {known[0]!r} already", remedy="rename the painting's file"
        )
    config = {**model.config, "styles": count + len(names), "style_names": [*before, *names]}
    wider = models.create("multi_style", **config)
    state = wider.state_dict()
    for name, old in model.state_dict().items():
        if state[name].shape == old.shape:
            state[name] = old.clone()
        else:
            new = old.mean(dim=1, keepdim=True).expand(-1, len(names), -1, -1)
            state[name] = torch.cat((old, new), dim=1)
    wider.load_state_dict(state)
    if not isinstance(wider, MultiStyleNet):
        raise UsageError(f"multi_style is a {type(wider).__name__}")
    return wider


def learn_styles_from(model: nn.Module, first: int) -> None:
    """Freeze a network, in place, except the vectors of its styles from ``first`` on."""
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, StyleNorm):
            for vectors in (module.scale.weight, module.shift.weight):
                vectors.requires_grad_(True)
                # Adam leaves values without a gradient unchanged.
                vectors.register_hook(_Later(first))


class _Later:
    """Gradient hook that zeroes the columns before one."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        kept = gradient.clone()
        kept[:, : self._first] = 0
        return kept
