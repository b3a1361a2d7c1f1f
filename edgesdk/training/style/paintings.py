"""Paintings for training: read them from a folder and compute their Gram matrices."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgesdk.errors import DataError, InputNotFoundError, InputSpecError
from edgesdk.host.image_files import IMAGE_SUFFIXES, pictures_below, read_picture
from edgesdk.training.style.gram import gram_matrix
from edgesdk.training.style.perceptual import PerceptualNet

__all__ = ["Painting", "Paintings", "as_tensor", "gram_targets", "read_paintings", "scaled"]

#: Longer side of a painting in memory; strokes are far larger than its pixels.
_LARGEST = 2048
_SMALLEST = 64


@dataclass(frozen=True, eq=False)
class Painting:
    """One painting.

    Attributes:
        name: Name of its style.
        pixels: ``uint8 [H, W, 3]``, RGB.
    """

    name: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Paintings:
    """The paintings of a folder.

    Attributes:
        paintings: Paintings in the order of their file names.
        skipped: Reason for each skipped file.
    """

    paintings: tuple[Painting, ...]
    skipped: dict[Path, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the styles."""
        return tuple(painting.name for painting in self.paintings)

    def identity(self) -> dict[str, str]:
        """Return a digest of each painting by name."""
        return {
            one.name: hashlib.sha256(one.pixels.tobytes()).hexdigest() for one in self.paintings
        }


def read_paintings(folder: Path) -> Paintings:
    """Read all pictures of a folder and its sub-folders; file names become style names.

    Raises:
        InputNotFoundError: The folder does not exist.
        DataError: The folder has no readable picture, or two share a name.
    """
    if not folder.exists():
        raise InputNotFoundError(folder, "folder")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder", remedy="give the folder")
    found: dict[str, Painting] = {}
    skipped: dict[Path, str] = {}
    paths = pictures_below(folder)
    for path in paths:
        name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "style"
        try:
            picture = read_picture(path, backdrop="white")
        except InputSpecError as error:
            skipped[path] = error.message
            continue
        if min(picture.size) < _SMALLEST:
            skipped[path] = f"{picture.width} x {picture.height} is too small"
            continue
        if name in found:
            raise DataError(f"two paintings in {folder} are called {name}", remedy="rename one")
        picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        found[name] = Painting(name, np.asarray(picture))
    if not found:
        reasons = "; ".join(f"{path.name}: {why}" for path, why in list(skipped.items())[:3])
        raise DataError(
            f"{folder} has no usable paintings" + (f": {reasons}" if reasons else ""),
            remedy=f"put pictures ({', '.join(IMAGE_SUFFIXES)}) there",
        )
    return Paintings(tuple(found.values()), skipped)


def as_tensor(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
    """Convert ``uint8 [H, W, 3]`` or ``[N, H, W, 3]`` to ``float32 [N, 3, H, W]``, 0..1."""
    batch = torch.from_numpy(np.array(pixels, copy=True, ndmin=4)).to(device)
    return batch.permute(0, 3, 1, 2).float().div_(255)


def scaled(painting: Painting, shorter: int) -> NDArray[np.uint8]:
    """Scale a painting so that its shorter side has ``shorter`` pixels."""
    height, width = painting.pixels.shape[:2]
    scale = shorter / min(height, width)
    size = (max(shorter, round(width * scale)), max(shorter, round(height * scale)))
    picture = Image.fromarray(painting.pixels)
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


@torch.no_grad()
def gram_targets(
    net: PerceptualNet, paintings: Sequence[Painting], layers: Sequence[str], sizes: Sequence[int]
) -> dict[str, torch.Tensor]:
    """Compute Gram matrices of paintings, averaged over sizes (shorter sides in pixels).

    Returns:
        ``[S, C, C]`` by layer, on the network's device.
    """
    device = net.mean.device
    by_layer: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}
    for painting in paintings:
        sums: dict[str, torch.Tensor] = {}
        for size in sizes:
            features = net(as_tensor(scaled(painting, size), device), layers)
            for layer in layers:
                gram = gram_matrix(features[layer])[0] / len(sizes)
                sums[layer] = sums[layer] + gram if layer in sums else gram
        for layer, gram in sums.items():
            by_layer[layer].append(gram)
    return {layer: torch.stack(grams) for layer, grams in by_layer.items()}
