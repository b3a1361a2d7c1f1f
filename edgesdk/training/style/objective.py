"""The training objective of a stylizer: style, content, tone and temporal stability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.training.style.gram import gram_matrix
from edgesdk.training.style.grid_artifacts import grid_artifact_share
from edgesdk.training.style.losses import content_loss, temporal_loss, total_variation
from edgesdk.training.style.perceptual import PerceptualNet
from edgesdk.training.style.recipe import StyleRecipe

__all__ = ["PARTS", "StyleGoals", "StyleObjective", "tone_loss"]

#: Names of the parts of the loss.
PARTS = ("content", "tone", "style", "variation", "lattice", "temporal")

#: Period in pixels of the grid artefacts, with 8, 4 and 2: twice the total downsampling factor of
#: style networks, because upsampling also leaves traces at twice the period.
_GRID = 16
#: Grid cells along each side for the comparison of light and dark.
_TONES = 12


@dataclass(frozen=True, eq=False)
class StyleGoals:
    """Loss targets of a set of paintings.

    Attributes:
        grams: Gram matrices by layer, ``[S, C, C]``.
        distances: Distances of unpainted photographs from the matrices, by layer, ``[S]``.
    """

    grams: Mapping[str, torch.Tensor]
    distances: Mapping[str, torch.Tensor]

    def of(self, styles: torch.Tensor) -> StyleGoals:
        """Select the targets of a batch: one style per picture, ``int64 [N]``."""
        return StyleGoals(
            {layer: grams[styles] for layer, grams in self.grams.items()},
            {layer: distances[styles] for layer, distances in self.distances.items()},
        )


def tone_loss(painted: torch.Tensor, photographs: torch.Tensor) -> torch.Tensor:
    """Compute the distance of light and dark areas of a painting and its photograph.

    Luminance is averaged over a coarse grid and normalised to zero mean and unit deviation, so
    a style may change brightness and contrast but must keep light and dark areas: 0 for a brighter
    or stronger version of the photograph, 2 for unrelated pictures, 4 for its negative. Features
    trained to find edges miss this.

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
    # Adding a deviation of 1/255 keeps the noise of flat pictures from being amplified.
    return (coarse - mean) / torch.sqrt(variance + (1 / 255) ** 2)


class StyleObjective:
    """The loss of Johnson, Alahi and Fei-Fei, ECCV 2016, as ratios that need no tuning per style.

    The Gram distance is 0 for the painting's own matrices and 1 for unpainted photographs, in every
    layer and for every style; the content distance is relative to the squared norm of the features.
    Further parts: light and dark (:func:`tone_loss`), total variation per value, grid artefacts
    (:func:`~edgesdk.training.style.grid_artifacts.grid_artifact_share`), and flicker (mean squared
    differences, as shares of white).

    Args:
        net: The perceptual network.
        recipe: Layers and weights.

    Raises:
        UnknownNameError: The network lacks one of the layers.
        UsageError: All weights are zero.
    """

    def __init__(self, net: PerceptualNet, recipe: StyleRecipe) -> None:
        self._net = net
        self._recipe = recipe
        net.require((*recipe.content_layers, *recipe.style_layers))
        self.weights = {part: float(getattr(recipe, f"{part}_weight")) for part in PARTS}
        if not any(self.weights.values()):
            raise UsageError("every weight of the loss is zero", remedy="set style_weight above 0")

    def parts(
        self, photographs: torch.Tensor, painted: torch.Tensor, goals: StyleGoals
    ) -> dict[str, torch.Tensor]:
        """Compute all parts of the loss but the temporal one.

        Args:
            photographs: ``[N, 3, H, W]``, 0..1.
            painted: Likewise.
            goals: Targets, one style per picture.

        Returns:
            ``[N]`` by name of :data:`PARTS`, unweighted, float32.
        """
        recipe = self._recipe
        features = self._net(painted, {*recipe.content_layers, *recipe.style_layers})
        with torch.no_grad():
            wanted = self._net(photographs, recipe.content_layers)
        found = {layer: value.float() for layer, value in features.items()}
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
            "lattice": grid_artifact_share(picture, _GRID),
        }

    def temporal(
        self,
        painted: torch.Tensor,
        painted_after: torch.Tensor,
        flow: torch.Tensor,
        visible: torch.Tensor,
    ) -> torch.Tensor:
        """Compute the distance of the second painted frame and the warped first one, ``[N]``.

        Args:
            painted: First painted frame, ``[N, 3, H, W]``.
            painted_after: Second painted frame.
            flow: Flow from the second to the first, see :func:`~.losses.temporal_loss`.
            visible: Likewise.
        """
        return temporal_loss(painted_after.float(), painted.float(), flow, visible)

    def total(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the weighted sum of the parts, ``[N]``."""
        return torch.stack([self.weights[name] * value for name, value in parts.items()]).sum(0)
