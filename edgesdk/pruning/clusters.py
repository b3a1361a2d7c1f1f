"""Count the different channels of a layer: ACP's clustering of feature maps.

Chang et al., "ACP: Automatic Channel Pruning via Clustering and Swarm Intelligence Optimization for
CNN", arXiv 2101.06407; Applied Intelligence 52 (2022), step 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edgesdk.errors import MissingBackendError, PruningError
from edgesdk.frontend.evaluation_mode import evaluation_mode
from edgesdk.frontend.side_effects import state_kept
from edgesdk.pruning.groups import Channels
from edgesdk.pruning.image_batches import image_batches

__all__ = ["cluster_widths", "count_clusters", "mean_feature_maps"]

#: Neighbours, itself included, that make a point a core point of DBSCAN.
MIN_SAMPLES = 5


@torch.no_grad()
def mean_feature_maps(
    model: nn.Module,
    channels: Channels,
    images: Any,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 50,
) -> dict[str, np.ndarray]:
    """Average the feature maps of every prunable channel over images, in evaluation mode.

    Args:
        model: Model; left unchanged: hooks are removed again, modes restored.
        channels: Channel groups of the model.
        images: Data set of ``(image, label)``; the paper takes 200 at random.
        mean, std: See :func:`edgesdk.training.fit`.
        batch_size: Number of images in a batch.

    Returns:
        Group name -> ``float64 [width, features]``: the flattened mean maps of the layer that
        names the group.

    Raises:
        PruningError: ``images`` is empty.
    """
    sums: dict[str, torch.Tensor] = {}

    def sum_outputs(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            total = output.double().sum(0)
            part = total.flatten(1) if total.dim() > 1 else total[:, None]
            sums[name] = sums[name] + part if name in sums else part

        return hook

    hooks = [
        model.get_submodule(group.name).register_forward_hook(sum_outputs(group.name))
        for group in channels.groups
    ]
    device = next(model.parameters()).device
    try:
        with evaluation_mode(model), state_kept(model):
            for batch in image_batches(images, mean, std, batch_size=batch_size, device=device):
                model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (total / len(images)).cpu().numpy() for name, total in sums.items()}


def count_clusters(maps: np.ndarray, epsilon: float) -> int:
    """Count clusters plus noise points of DBSCAN on the cosine distance.

    Maps that are zero everywhere have no direction; together they count as one cluster.

    Args:
        maps: ``[channels, features]``.
        epsilon: Largest cosine distance of neighbours, 0 to 2; the paper uses 0.005 to 0.3.

    Raises:
        MissingBackendError: scikit-learn is not installed.
        PruningError: A value is not finite.
    """
    try:
        from sklearn.cluster import DBSCAN
    except ImportError as error:
        raise MissingBackendError("sklearn", "pruning") from error
    if not np.isfinite(maps).all():
        raise PruningError(
            "feature maps are not finite", remedy="check the model's weights and the images"
        )
    lengths = np.linalg.norm(maps, axis=1)
    # Relative: the output of a dead channel may be rounding noise of a live layer.
    dead = lengths <= 1e-12 * max(float(lengths.max(initial=0.0)), 1e-300)
    alive = maps[~dead] / lengths[~dead, None]
    clusters = int(bool(dead.any()))
    if len(alive):
        distances = np.clip(1 - alive @ alive.T, 0, 2)
        np.fill_diagonal(distances, 0)
        search = DBSCAN(eps=epsilon, min_samples=MIN_SAMPLES, metric="precomputed")
        labels = search.fit(distances).labels_
        clusters += int(labels.max(initial=-1)) + 1 + int((labels == -1).sum())
    return clusters


def cluster_widths(maps: Mapping[str, np.ndarray], epsilon: float) -> dict[str, int]:
    """Return the width of every group by :func:`count_clusters`.

    Raises:
        PruningError: ``epsilon`` is not between 0 and 2.
    """
    if not 0 < epsilon <= 2:
        raise PruningError(
            f"epsilon is {epsilon}", remedy="give a cosine distance above 0 and up to 2"
        )
    return {name: max(1, count_clusters(values, epsilon)) for name, values in maps.items()}
