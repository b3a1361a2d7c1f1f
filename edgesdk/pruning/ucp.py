"""UCP: uniform channel pruning by trained gates.

Chang et al., "UCP: Uniform Channel Pruning for Deep Convolutional Neural Networks Compression and
Acceleration", arXiv 2010.01251. A gated network is trained, the mean gate of each channel is its
score, and channels below ``1 + lambda`` times their layer's mean are removed. The gates are
discarded; the pruned network is trained from new weights, because its activations change without
gates. To save time, the gates can be folded into the layers and training continued from there.
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
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Ranking, nn.Module]:
    """Train a gated copy of a model and rank its channels by their gates.

    Args:
        model: Model that is copied; left unchanged.
        channels: Channel groups of the model.
        train: Images to train on.
        recipe: Training recipe; its seed also sets the gates' initial values.
        scored_on: Images over which gates are averaged: a part of ``train``, or None for all of it.
        mean, std: See :func:`edgesdk.training.fit`.
        place: See :func:`edgesdk.pruning.channel_gates.with_gates`.
        checkpoint: Folder that keeps the training and resumes it.
        on_progress: Called during the training.

    Returns:
        Priorities as multiples of the layer's mean gate: the paper's rule ``s > (1 + lambda) mean``
        is a priority above ``1 + lambda``. Also the trained network with its gates folded into its
        layers, from which training can continue.

    Raises:
        DivergedError: The gated network cannot be trained with this recipe.
    """
    gated = with_gates(model, channels, place=place, seed=recipe.seed)
    fit(gated, train, recipe, mean=mean, std=std, checkpoint=checkpoint, on_progress=on_progress)
    images = train if scored_on is None else scored_on
    scores = gate_scores(gated, channels, images, mean=mean, std=std)
    return ranking_by_mean(scores), folded(gated, images, mean=mean, std=std)


def reinitialise(model: nn.Module, seed: int) -> None:
    """Initialise the weights of a model in place, without changing the global random state.

    Convolutions, linear layers and normalisations as in the zoo (He et al., ICCV 2015); other
    layers by their own ``reset_parameters`` if they have one.

    Args:
        model: Model, changed in place.
        seed: Seed of the weights.
    """
    known = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, known):
                initialise(module)
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.reset_running_stats()
            elif not isinstance(module, known) and hasattr(module, "reset_parameters"):
                module.reset_parameters()
