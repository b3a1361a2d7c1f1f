"""From folders of photographs and paintings to a network that paints in any style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import UsageError
from edgesdk.models.any_style import AnyStyleNet, StyleEncoder
from edgesdk.training.accelerating import new_accelerator
from edgesdk.training.counter_random import key
from edgesdk.training.style.history import StyleHistory
from edgesdk.training.style.lessons import Lessons, first_crops
from edgesdk.training.style.loop import Watched, fit_style
from edgesdk.training.style.objective import StyleGoals, StyleObjective, unpainted_distances
from edgesdk.training.style.paintings import Painting, gram_targets, read_paintings, scaled
from edgesdk.training.style.paintings import as_tensor as tensor_of
from edgesdk.training.style.perceptual import load_perceptual
from edgesdk.training.style.perceptual_files import find_perceptual
from edgesdk.training.style.photographs import Photographs
from edgesdk.training.style.previews import Previews
from edgesdk.training.style.recipe import StyleRecipe

__all__ = ["TrainedAnyStylizer", "train_any_stylizer", "views"]

#: Squares that are cut from each painting; so many styles a painting is for the network.
_VIEWS = 16
_SIDE = 192


class _Pupil(nn.Module):
    """The encoder and the painter, trained as one."""

    def __init__(self, encoder: StyleEncoder, painter: AnyStyleNet) -> None:
        super().__init__()
        self.encoder, self.painter = encoder, painter

    def forward(self, pictures: torch.Tensor, paintings: torch.Tensor) -> torch.Tensor:
        return self.painter(pictures, self.encoder(paintings))


@dataclass(frozen=True)
class TrainedAnyStylizer:
    """What :func:`train_any_stylizer` did.

    Attributes:
        encoder: Trained, in evaluation mode.
        painter: Likewise.
        history: Row by row.
        paintings: Names of the paintings it learnt from.
        skipped: Why a photograph or painting was left out, by file.
        photographs: How many there were.
        perceptual: File of the perceptual network.
        processes: How many trained it.
        device: Where, such as ``cpu``.
        is_main: Whether this is the process that writes and speaks.
    """

    encoder: StyleEncoder
    painter: AnyStyleNet
    history: StyleHistory
    paintings: tuple[str, ...]
    skipped: dict[str, str]
    photographs: int
    perceptual: str
    processes: int
    device: str
    is_main: bool

    def summary(self) -> str:
        """What it is, in a few words."""
        return f"any style, learnt from {len(self.paintings)} paintings"

    def to_dict(self) -> dict[str, Any]:
        """All but the networks, as JSON values."""
        return {
            "paintings": self.paintings,
            "history": self.history.to_dict(),
            "skipped": self.skipped,
            "photographs": self.photographs,
            "perceptual": self.perceptual,
            "processes": self.processes,
            "device": self.device,
        }


def views(
    painting: Painting, count: int, sizes: tuple[int, ...], seed: int, *, side: int = _SIDE
) -> np.ndarray:
    """Squares of a painting, each of which counts as a style of its own.

    Few paintings must teach what styles are: besides the place and the size, the colours change, by
    exchanging the channels; the first square has its own.

    Args:
        painting: The painting.
        count: How many squares.
        sizes: Shorter sides in pixels that the painting is scaled to.
        seed: Of the run.
        side: Of a square, pixels.

    Returns:
        ``uint8 [count, side, side, 3]``, RGB.
    """
    random = np.random.default_rng(key(seed, f"views of {painting.name}"))
    found = []
    for place in range(count):
        pixels = scaled(painting, max(side, int(random.choice(sizes))))
        height, width = pixels.shape[:2]
        top = int(random.integers(height - side + 1))
        left = int(random.integers(width - side + 1))
        channels = random.permutation(3) if place else np.arange(3)
        found.append(pixels[top : top + side, left : left + side][..., channels])
    return np.stack(found)


def train_any_stylizer(
    content: Path,
    styles: Path,
    recipe: StyleRecipe,
    *,
    config: dict[str, Any] | None = None,
    perceptual: Path | None = None,
    previews: Path | None = None,
    watched: Watched | None = None,
    resume: bool = True,
    views_a_painting: int = _VIEWS,
    say: Callable[[str], None] = lambda text: None,
) -> TrainedAnyStylizer:
    """Train an encoder of paintings and a network that paints in what it encodes.

    Args:
        content: Folder of photographs.
        styles: Folder of paintings, the more and the more different the better.
        recipe: How to train.
        config: Options of :class:`~edgesdk.models.any_style.AnyStyleNet`.
        perceptual: See :func:`~edgesdk.training.style.stylizer.train_stylizer`, like the next four.
        previews: Likewise.
        watched: Likewise.
        resume: Likewise.
        views_a_painting: See :func:`views`.
        say: Called with a line of what is being done.

    Raises:
        EdgeSdkError: Likewise.
    """
    paintings = read_paintings(styles)
    photographs = Photographs(content, recipe.crop)
    file = perceptual or find_perceptual()
    say(f"{len(photographs)} photographs, {len(paintings.names)} paintings, judged by {file.name}")
    net = load_perceptual(file)
    objective = StyleObjective(net, recipe)
    pupil = _pupil(config or {})
    accelerator = new_accelerator()
    device = accelerator.device
    net.to(device)
    pupil.to(device)
    say(f"looking at {views_a_painting} views of each painting")
    squares = [
        views(one, views_a_painting, recipe.style_sizes, recipe.seed) for one in paintings.paintings
    ]
    shown = [Painting("", square) for each in squares for square in each]
    grams = gram_targets(net, shown, recipe.style_layers, (_SIDE,))
    crops = first_crops(photographs, recipe).to(device)
    goals = StyleGoals(grams, unpainted_distances(net, crops, grams))
    conditions = tensor_of(np.concatenate(squares), device)
    watched = watched or Watched()
    if previews is not None and accelerator.is_main_process:
        watched.preview = Previews(
            previews, pupil, photographs, paintings.paintings, conditions[::views_a_painting]
        ).write
    history = fit_style(
        pupil,
        Lessons(photographs, conditions, goals, recipe),
        objective,
        recipe,
        watched,
        identity={
            "network": pupil.painter.config,
            "photographs": photographs.identity(),
            "paintings": paintings.identity(),
            "views": views_a_painting,
            "perceptual": net.identity(),
        },
        resume=resume,
        accelerator=accelerator,
    )
    pupil.cpu().eval()
    skipped = {str(path): why for path, why in {**paintings.skipped, **photographs.skipped}.items()}
    return TrainedAnyStylizer(
        encoder=pupil.encoder,
        painter=pupil.painter,
        history=history,
        paintings=paintings.names,
        skipped=skipped,
        photographs=len(photographs),
        perceptual=file.name,
        processes=accelerator.num_processes,
        device=str(device),
        is_main=accelerator.is_main_process,
    )


def _pupil(config: dict[str, Any]) -> _Pupil:
    encoder = models.create("style_encoder")
    painter = models.create("any_style", **config)
    if not (isinstance(encoder, StyleEncoder) and isinstance(painter, AnyStyleNet)):
        raise UsageError("the zoo's any_style and style_encoder are other networks")
    return _Pupil(encoder, painter)
