"""UCP: uniform channel pruning by trained gates.

Chang et al., "UCP: Uniform Channel Pruning for Deep Convolutional Neural Networks Compression and
Acceleration", arXiv 2010.01251. A gated network is trained, the mean gate of each channel is its
score, and channels below ``1 + lambda`` times their layer's mean go. The gates are thrown away; the
small network is trained anew, because without gates its activations are others. Where that is too
long, the gates can be folded into the layers instead and the network trained on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesdk.models.initialisation import initialise
from edgesdk.pruning.channel_gates import folded, gate_scores, with_gates
from edgesdk.pruning.groups import Channels
from edgesdk.pruning.ranking import Ranking, ranking_by_mean
from edgesdk.training.history import Progress
from edgesdk.training.loop import fit
from edgesdk.training.recipes import Recipe

__all__ = ["reinitialise", "ucp_ranking"]


def ucp_ranking(
    model: nn.Module,
    channels: Channels,
    train: Any,
    recipe: Recipe,
    *,
    scored_on: Any = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    place: str = "layer",
    checkpoint: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Ranking, nn.Module]:
    """Train a gated copy of a model and rank its channels by their gates.

    Args:
        model: Where the gated copy starts from; left as it is.
        channels: Found in it.
        train: Images to train on.
        recipe: How; its seed decides the gates' starting values too.
        scored_on: Images the gates are averaged over, held out of nothing: a part of ``train``.
            None for all of it.
        mean: See :func:`edgesdk.training.fit`.
        std: See :func:`edgesdk.training.fit`.
        place: See :func:`edgesdk.pruning.channel_gates.with_gates`.
        checkpoint: Folder to resume the training from and to keep it in.
        progress: Called as the training goes on.

    Returns:
        Priorities as multiples of the layer's mean gate: the rule ``s > (1 + lambda) mean`` of the
        paper is a priority above ``1 + lambda``. With it the trained network, its gates folded
        into its layers: where to go on from instead of training anew.

    Raises:
        DivergedError: The gated network cannot be trained with this recipe.
    """
    gated = with_gates(model, channels, place=place, seed=recipe.seed)
    fit(gated, train, recipe, mean=mean, std=std, checkpoint=checkpoint, progress=progress)
    seen = train if scored_on is None else scored_on
    scores = gate_scores(gated, channels, seen, mean=mean, std=std)
    return ranking_by_mean(scores), folded(gated, seen, mean=mean, std=std)


def reinitialise(model: nn.Module, seed: int) -> None:
    """Give a model new starting weights in place, without touching the global random state.

    Convolutions, linear layers and normalisations as in the zoo (He et al., ICCV 2015); other
    layers by their own ``reset_parameters`` where they have one.

    Args:
        model: Changed in place.
        seed: Of the weights.
    """
    known = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, known):
                initialise(module)
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.reset_running_stats()
            elif not isinstance(module, known):
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
