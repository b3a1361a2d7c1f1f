"""Distance between the styles of two paintings of the same photograph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgesdk.errors import EdgeSdkError, UsageError
from edgesdk.host.digest import digest
from edgesdk.training.style.gram import gram_matrix, unpainted_distances
from edgesdk.training.style.perceptual import PerceptualNet, load_perceptual
from edgesdk.training.style.perceptual_files import find_perceptual

__all__ = ["STYLE_LAYERS", "StyleRuler", "StyleScale", "perceptual_state"]

Picture = NDArray[np.uint8]

#: Layers that styles are compared in: those that stylizers are trained with by default, at the
#: picture's own size. Halved pictures and palettes say more about training than about damage.
STYLE_LAYERS = ("conv1_2", "conv2_2", "conv3_3", "conv4_1")
#: Larger pictures are scaled down to this side: strokes stay visible, and the network stays fast.
_LONGEST_SIDE = 512


@dataclass(frozen=True, eq=False)
class StyleScale:
    """Style distance from a painting: 0 for the painting, 1 for its photograph.

    Layers that barely distinguish the two count less: see
    :func:`~edgesdk.training.style.gram.unpainted_distances`.

    Attributes:
        net: The perceptual network.
        grams: Gram matrices of the painting by layer, ``[1, C, C]``.
        distances: Distance of the photograph by layer, ``[1]``.
    """

    net: PerceptualNet
    grams: Mapping[str, torch.Tensor]
    distances: Mapping[str, torch.Tensor]

    @torch.no_grad()
    def change(self, painted: Picture) -> float | None:
        """Return the squared distance of Gram matrices, relative to the photograph's; mean over
        layers.

        Args:
            painted: uint8, H x W x 3, RGB, of the photograph's size.

        Returns:
            0 for the painting itself; None if no layer has a distance to divide by.
        """
        features = self.net(_tensor(painted), self.grams)
        shares = [
            float((gram_matrix(features[layer]) - gram).square().sum() / self.distances[layer])
            for layer, gram in self.grams.items()
            if float(self.distances[layer]) > 0
        ]
        return sum(shares) / len(shares) if shares else None


class StyleRuler:
    """Measures changes of style with a perceptual network.

    Args:
        net: The network.
        source: Name of its weights file.

    Raises:
        UsageError: The network has none of :data:`STYLE_LAYERS`.
    """

    def __init__(self, net: PerceptualNet, source: str) -> None:
        self._net = net
        self.layers = tuple(name for name in STYLE_LAYERS if name in net.layers)
        if not self.layers:
            raise UsageError(f"{source} has none of the layers {', '.join(STYLE_LAYERS)}")
        self._source = source

    @classmethod
    def find(cls) -> StyleRuler:
        """Return a ruler with the perceptual network of this machine.

        Raises:
            MissingBackendError: No network was found, or the package that reads it is missing.
            WeightsError: Its file is missing, damaged or holds another network.
            UsageError: It ends too early, or its file has an unknown suffix.
        """
        path = find_perceptual()
        try:
            return cls(load_perceptual(path), path.name)
        except EdgeSdkError as error:
            # The message goes into the bundle, which must not name folders of this machine.
            error.message = error.message.replace(str(path), path.name)
            raise

    @property
    def description(self) -> str:
        """Network and layers, for users."""
        return f"VGG16 in {self._source}, {', '.join(self.layers)}"

    def identity(self) -> str:
        """Return a digest of everything that decides a distance."""
        return f"{self._net.identity()} {' '.join(self.layers)} {_LONGEST_SIDE}"

    @torch.no_grad()
    def scale(self, photograph: Picture, painting: Picture) -> StyleScale:
        """Return the scale between a painting and its photograph.

        Args:
            photograph: uint8, H x W x 3, RGB.
            painting: In the same form and size.

        Raises:
            UsageError: They are too small for the deepest layer.
        """
        features = self._net(_tensor(painting), self.layers)
        grams = {layer: gram_matrix(features[layer]) for layer in self.layers}
        return StyleScale(
            self._net, grams, unpainted_distances(self._net, _tensor(photograph), grams)
        )


def perceptual_state() -> str:
    """Return the digest of this machine's perceptual network, or why there is none."""
    try:
        return digest(find_perceptual())
    except EdgeSdkError as error:
        return error.message


def _tensor(picture: Picture) -> torch.Tensor:
    height, width = picture.shape[:2]
    scale = _LONGEST_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
    return torch.from_numpy(planes).float() / 255
