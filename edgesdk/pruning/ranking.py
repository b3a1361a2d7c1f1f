"""Which channels of a group go first.

A ranking gives each channel of each group a priority; channels whose priority lies below a
threshold go. Priorities are comparable between groups: either shares of the group's mean score,
which is the uniform rule of UCP, or ranks as fractions of the group, which takes the same share of
each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import nn

from edgesdk.errors import PruningError
from edgesdk.pruning.groups import ChannelGroup, Channels, Member

__all__ = [
    "Ranking",
    "group_norm_ranking",
    "l1_ranking",
    "random_ranking",
    "ranking_by_fraction",
    "ranking_by_mean",
    "scores_from_weights",
]

#: Group name -> priority of each channel, ``[width]``; the lowest go first.
Ranking: TypeAlias = "dict[str, torch.Tensor]"


def ranking_by_fraction(scores: Mapping[str, torch.Tensor]) -> Ranking:
    """Ranks as fractions: the k-th lowest of C channels has priority (k + 1/2) / C.

    Equal scores are ranked in the order of the channels.
    """
    return {name: _fractions(values) for name, values in scores.items()}


def _fractions(values: torch.Tensor) -> torch.Tensor:
    order = torch.argsort(values, stable=True)
    fractions = torch.empty(len(values), dtype=torch.float64)
    fractions[order] = (torch.arange(len(values), dtype=torch.float64) + 0.5) / len(values)
    return fractions


def ranking_by_mean(scores: Mapping[str, torch.Tensor]) -> Ranking:
    """Scores as multiples of their group's mean.

    UCP (Chang et al., arXiv 2010.01251) keeps channel c of layer l where its gate exceeds
    ``(1 + lambda) * mean_l``: where its priority here exceeds ``1 + lambda``.

    Raises:
        PruningError: Scores that are negative or not finite.
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
    """A random order in each group: what any method must beat."""
    generator = torch.Generator().manual_seed(seed)
    scores = {group.name: torch.rand(group.width, generator=generator) for group in channels.groups}
    return ranking_by_fraction(scores)


def l1_ranking(model: nn.Module, channels: Channels) -> Ranking:
    """The same share of every group, filters of the smallest L1 norm first.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017. Where several layers make the
    channels of a group their norms are added.
    """
    return ranking_by_fraction(scores_from_weights(model, channels, 1, consumers=False))


def group_norm_ranking(model: nn.Module, channels: Channels) -> Ranking:
    """The same share of every group, by the norm over all layers of the group.

    Fang et al., "DepGraph", CVPR 2023, section 3.3, as Torch-Pruning's group magnitude: squared
    L2 norms of filters and of the weights that read them, averaged over the layers.
    """
    return ranking_by_fraction(scores_from_weights(model, channels, 2, consumers=True))


@torch.no_grad()
def scores_from_weights(
    model: nn.Module, channels: Channels, power: int, *, consumers: bool
) -> dict[str, torch.Tensor]:
    """For each channel the sum of ``|w| ** power`` over its weights, averaged over the layers.

    Args:
        model: The model the channels were found in.
        channels: Its channels.
        power: 1 or 2.
        consumers: Whether weights that read a channel count, and scales of normalisations.
    """
    return {group.name: _weight_scores(model, group, power, consumers) for group in channels.groups}


def _weight_scores(
    model: nn.Module, group: ChannelGroup, power: int, consumers: bool
) -> torch.Tensor:
    members = group.members if consumers else group.producers
    parts = []
    for member in members:
        layer = model.get_submodule(member.layer)
        weight = getattr(layer, "weight", None)
        # As Torch-Pruning counts: of the layers with one side, normalisations alone.
        counted = member.side != "both" or isinstance(layer, nn.modules.batchnorm._BatchNorm)
        if weight is not None and counted:
            parts.append(_by_channel(_by_position(layer, weight, member, power), member))
    return torch.stack(parts).mean(0)


def _by_position(
    layer: nn.Module, weight: torch.Tensor, member: Member, power: int
) -> torch.Tensor:
    values = weight.detach().cpu().double().abs() ** power
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    groups = getattr(layer, "groups", 1)
    if values.dim() == 1:
        return values
    if member.side == "both":
        return values.flatten(1).sum(1)
    if transposed == (member.side == "in"):
        return values.flatten(1).sum(1)
    # The dimension that counts positions within a group of the convolution.
    parts = values.reshape(groups, values.shape[0] // groups, values.shape[1], -1)
    return parts.sum((1, 3)).flatten()


def _by_channel(values: torch.Tensor, member: Member) -> torch.Tensor:
    return torch.stack([values[list(positions)].sum() for positions in member.positions])
