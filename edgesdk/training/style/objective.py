"""What a stylizer is trained for: a painting's style on a photograph's content, steadily."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.training.style.gram import gram_matrix
from edgesdk.training.style.grid_artifacts import lattice_share
from edgesdk.training.style.losses import content_loss, temporal_loss, total_variation
from edgesdk.training.style.perceptual import PerceptualNet
from edgesdk.training.style.recipe import StyleRecipe

__all__ = ["PARTS", "StyleGoals", "StyleObjective", "tone_loss"]

#: Names of the parts of the loss.
PARTS = ("content", "tone", "style", "variation", "lattice", "temporal")

#: Period in pixels of the patterns that count as a lattice, with 8, 4 and 2: twice what networks of
#: style halve the size by in all, because enlarging leaves traces at twice the period as well.
_GRID = 16
#: Places along each side at which light and dark are compared.
_TONES = 12


@dataclass(frozen=True, eq=False)
class StyleGoals:
    """Paintings as a loss sees them.

    Attributes:
        grams: Gram matrices by layer, ``[S, C, C]``.
        distances: By layer, how far unpainted photographs are from them, ``[S]``.
    """

    grams: Mapping[str, torch.Tensor]
    distances: Mapping[str, torch.Tensor]

    def of(self, styles: torch.Tensor) -> StyleGoals:
        """The goals of a batch: one style a picture, ``int64 [N]``."""
        return StyleGoals(
            {layer: grams[styles] for layer, grams in self.grams.items()},
            {layer: distances[styles] for layer, distances in self.distances.items()},
        )


def tone_loss(painted: torch.Tensor, photographs: torch.Tensor) -> torch.Tensor:
    """How far a painting's light and dark, at low resolution, are from its photograph's.

    Luminance is averaged over a coarse grid and freed of its mean and deviation, so that a style
    may be darker or of less contrast but must keep what is light and what is dark: 0 for any
    brighter or stronger version of the photograph, 2 for pictures that have nothing in common, 4
    for its negative. Features that were trained to find edges do not see this.

    Args:
        painted: ``[N, 3, H, W]``, RGB.
        photographs: Likewise.

    Returns:
        ``[N]``.
    """
    mine, its = (_tones(pictures) for pictures in (painted, photographs))
    return (mine - its).square().mean(dim=1)


def _tones(pictures: torch.Tensor) -> torch.Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114], device=pictures.device).view(1, 3, 1, 1)
    grey = (pictures.float() * weights).sum(dim=1, keepdim=True)
    coarse = functional.adaptive_avg_pool2d(grey, _TONES).flatten(1)
    variance, mean = torch.var_mean(coarse, dim=1, correction=0, keepdim=True)
    # A deviation of one level of 255 keeps plain pictures from being amplified into noise.
    return (coarse - mean) / torch.sqrt(variance + (1 / 255) ** 2)


class StyleObjective:
    """Johnson, Alahi and Fei-Fei's loss, ECCV 2016, in ratios that need no tuning a style.

    The distance of Gram matrices is 0 for the painting's own and 1 for what photographs have before
    they are painted, in every layer and for every style; that of features is a share of their
    squared norm. Light and dark (:func:`tone_loss`), total variation a value, what repeats with the
    network's grid (:func:`~edgesdk.training.style.grid_artifacts.lattice_share`) and unsteadiness
    (mean squared differences, as shares of white) are added.

    Args:
        net: The perceptual network.
        recipe: Layers and weights.

    Raises:
        UnknownNameError: The network has not all of the layers.
        UsageError: Every weight is zero.
    """

    def __init__(self, net: PerceptualNet, recipe: StyleRecipe) -> None:
        self._net = net
        self._recipe = recipe
        net.require((*recipe.content_layers, *recipe.style_layers))
        self.weights = {part: float(getattr(recipe, f"{part}_weight")) for part in PARTS}
        if not any(self.weights.values()):
            raise UsageError("every weight of the loss is zero", remedy="set style_weight above 0")

    @property
    def is_temporal(self) -> bool:
        """Whether it asks for second frames."""
        return self.weights["temporal"] > 0

    def parts(
        self, photographs: torch.Tensor, painted: torch.Tensor, goals: StyleGoals
    ) -> dict[str, torch.Tensor]:
        """Every part but the temporal one.

        Args:
            photographs: ``[N, 3, H, W]``, 0..1.
            painted: Likewise.
            goals: One style a picture.

        Returns:
            ``[N]`` by name of :data:`PARTS`, unweighted, float32.
        """
        recipe = self._recipe
        seen = self._net(painted, {*recipe.content_layers, *recipe.style_layers})
        with torch.no_grad():
            wanted = self._net(photographs, recipe.content_layers)
        found = {layer: seen[layer].float() for layer in seen}
        distances = [
            (gram_matrix(found[layer]) - goals.grams[layer]).square().sum(dim=(1, 2))
            / goals.distances[layer]
            for layer in recipe.style_layers
        ]
        picture = painted.float()
        return {
            "content": content_loss(found, {name: value.float() for name, value in wanted.items()}),
            "tone": tone_loss(picture, photographs),
            "style": torch.stack(distances).mean(dim=0),
            "variation": total_variation(picture) / picture[0].numel(),
            "lattice": lattice_share(picture, _GRID),
        }

    def temporal(
        self,
        painted: torch.Tensor,
        painted_after: torch.Tensor,
        flow: torch.Tensor,
        visible: torch.Tensor,
    ) -> torch.Tensor:
        """How far the second painted frame is from the first one carried along, ``[N]``.

        Args:
            painted: The first, ``[N, 3, H, W]``.
            painted_after: The second.
            flow: From the second to the first, see :func:`~.losses.temporal_loss`.
            visible: Likewise.
        """
        return temporal_loss(painted_after.float(), painted.float(), flow, visible)

    def total(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The weighted sum of parts, ``[N]``."""
        return torch.stack([self.weights[name] * value for name, value in parts.items()]).sum(0)
