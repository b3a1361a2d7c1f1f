"""Rank the channels of each group.

A ranking gives each channel of each group a priority; channels with a priority below a threshold
are removed. Priorities are comparable between groups: either multiples of the group's mean score
(UCP's uniform rule), or ranks as fractions of the group, which remove the same share of each group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import nn

from edgesdk.errors import PruningError
from edgesdk.pruning.groups import Channels, Member

__all__ = [
    "Ranking",
    "group_norm_ranking",
    "l1_ranking",
    "random_ranking",
    "ranking_by_fraction",
    "ranking_by_mean",
    "scores_from_weights",
]

#: Group name -> priority of each channel, ``[width]``; the lowest are removed first.
Ranking: TypeAlias = "dict[str, torch.Tensor]"


def ranking_by_fraction(scores: Mapping[str, torch.Tensor]) -> Ranking:
    """Rank as fractions: the k-th lowest of C channels has priority (k + 1/2) / C.

    Equal scores are ranked in the order of the channels.
    """
    # The order of the order of the values is the rank of each of them.
    return {
        name: (values.argsort(stable=True).argsort().double() + 0.5) / len(values)
        for name, values in scores.items()
    }


def ranking_by_mean(scores: Mapping[str, torch.Tensor]) -> Ranking:
    """Rank by scores as multiples of their group's mean.

    UCP (Chang et al., arXiv 2010.01251) keeps channel c of layer l if its gate exceeds
    ``(1 + lambda) * mean_l``, which is a priority above ``1 + lambda`` here.

    Raises:
        PruningError: A score is negative or not finite.
    """
    ranking = {}
    for name, values in scores.items():
        exact = values.double()
        mean = exact.mean()
        if not bool(torch.isfinite(exact).all()) or bool((exact < 0).any()):
            raise PruningError(
                f"the scores of {name} are not all finite and positive",
                remedy="train the gated network at a lower learning rate",
            )
        ranking[name] = exact / mean if mean > 0 else torch.ones_like(exact)
    return ranking


def random_ranking(channels: Channels, seed: int) -> Ranking:
    """Rank the channels of each group at random: the baseline of every method.

    Example:
        >>> channels = find_channels(model, inputs)
        >>> ranking = random_ranking(channels, seed=0)
    """
    generator = torch.Generator().manual_seed(seed)
    scores = {group.name: torch.rand(group.width, generator=generator) for group in channels.groups}
    return ranking_by_fraction(scores)


def l1_ranking(model: nn.Module, channels: Channels) -> Ranking:
    """Rank by the L1 norm of filters; removes the same share of every group.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017. If several layers make the
    channels of a group, their norms are averaged.

    Example:
        >>> channels = find_channels(model, inputs)
        >>> ranking = l1_ranking(model, channels)
    """
    return ranking_by_fraction(scores_from_weights(model, channels, 1, consumers=False))


def group_norm_ranking(model: nn.Module, channels: Channels) -> Ranking:
    """Rank by the norm over all layers of a group; removes the same share of every group.

    Fang et al., "DepGraph", CVPR 2023, section 3.3, as Torch-Pruning's group magnitude: squared
    L2 norms of filters and of the weights that read them, averaged over the layers.

    Example:
        >>> channels = find_channels(model, inputs)
        >>> ranking = group_norm_ranking(model, channels)
    """
    return ranking_by_fraction(scores_from_weights(model, channels, 2, consumers=True))


@torch.no_grad()
def scores_from_weights(
    model: nn.Module, channels: Channels, power: int, *, consumers: bool
) -> dict[str, torch.Tensor]:
    """Sum ``|w| ** power`` over the weights of each channel, averaged over the layers.

    Args:
        model: Model with these channels.
        channels: Channel groups of the model.
        power: 1 or 2.
        consumers: True to count weights that read a channel and scales of normalisations too.
    """
    scores = {}
    for group in channels.groups:
        parts = []
        for member in group.members if consumers else group.producers:
            layer = model.get_submodule(member.layer)
            weight = getattr(layer, "weight", None)
            # Torch-Pruning counts only normalisations among the layers with one side.
            counted = member.side != "both" or isinstance(layer, nn.modules.batchnorm._BatchNorm)
            if weight is not None and counted:
                values = _by_position(layer, weight, member, power)
                parts.append(torch.stack([values[list(row)].sum() for row in member.positions]))
        scores[group.name] = torch.stack(parts).mean(0)
    return scores


def _by_position(
    layer: nn.Module, weight: torch.Tensor, member: Member, power: int
) -> torch.Tensor:
    values = weight.detach().cpu().double().abs() ** power
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    groups = getattr(layer, "groups", 1)
    if values.dim() == 1:
        return values
    if member.side == "both" or transposed == (member.side == "in"):
        return values.flatten(1).sum(1)
    # This dimension counts positions within one group of the convolution.
    parts = values.reshape(groups, values.shape[0] // groups, values.shape[1], -1)
    return parts.sum((1, 3)).flatten()
