"""Train an arbitrary-style network from folders of photographs and paintings."""

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
from edgesdk.training.counter_random import key
from edgesdk.training.engine import RunOptions
from edgesdk.training.style.fine_tuning import any_style_taken_over, weights_digest, widths_of
from edgesdk.training.style.paintings import Painting, as_tensor, scaled
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.train import StylesToLearn, StyleTrainer, StyleTraining

__all__ = ["TrainedAnyStylizer", "train_any_stylizer", "views"]

#: Number of squares cut from each painting; each counts as a style.
_VIEWS = 16
_SIDE = 192


class _EncoderDecoder(nn.Module):
    """Encoder and painter, trained as one network."""

    def __init__(self, encoder: StyleEncoder, painter: AnyStyleNet) -> None:
        super().__init__()
        self.encoder, self.painter = encoder, painter

    def forward(self, pictures: torch.Tensor, paintings: torch.Tensor) -> torch.Tensor:
        return self.painter(pictures, self.encoder(paintings))


@dataclass(frozen=True, kw_only=True)
class TrainedAnyStylizer(StyleTraining):
    """Result of :func:`train_any_stylizer`; see :class:`StyleTraining` for more attributes.

    Attributes:
        encoder: Trained encoder, in evaluation mode.
        painter: Trained painter, in evaluation mode.
        paintings: Names of the training paintings.
    """

    encoder: StyleEncoder
    painter: AnyStyleNet
    paintings: tuple[str, ...]

    def summary(self) -> str:
        """Return a one-line summary."""
        return f"any style, learnt from {len(self.paintings)} paintings"

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the networks as JSON values."""
        return {"paintings": self.paintings, **super().to_dict()}


def views(
    painting: Painting, count: int, sizes: tuple[int, ...], seed: int, *, side: int = _SIDE
) -> np.ndarray:
    """Cut squares from a painting, each of which counts as a style.

    A few paintings must show the variety of styles: squares differ in place, in size and in colour,
    by permuted channels; the first square keeps its colours.

    Args:
        painting: Painting to cut.
        count: Number of squares.
        sizes: Shorter sides in pixels that the painting is scaled to.
        seed: Seed of the run.
        side: Side of a square in pixels.

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
    start: Path | None = None,
    config: dict[str, Any] | None = None,
    perceptual: Path | None = None,
    previews: Path | None = None,
    options: RunOptions | None = None,
    views_a_painting: int = _VIEWS,
    report: Callable[[str], None] = lambda text: None,
) -> TrainedAnyStylizer:
    """Train an encoder of paintings together with a painter that takes its codes.

    Args:
        content: Folder of photographs.
        styles: Folder of paintings; many different ones generalise better.
        recipe: Training settings.
        start: ``NAME.edgemodel`` of an arbitrary-style painter with its encoder beside it, or of a
            multi-style network whose convolutions and styles the painter starts with
            (:func:`~edgesdk.training.style.fine_tuning.any_style_taken_over`).
        config: Options of :class:`~edgesdk.models.any_style.AnyStyleNet`; missing widths are
            those of ``start``.
        perceptual: See :func:`~edgesdk.training.style.stylizer.train_stylizer`, like the next two.
        previews: Likewise.
        options: Likewise.
        views_a_painting: See :func:`views`.
        report: Called with a line of text as each part begins.

    Raises:
        EdgeSdkError: Likewise.
    """
    trainer = StyleTrainer(content, styles, recipe, perceptual=perceptual, report=report)
    network = _fresh_network({**({} if start is None else widths_of(start)), **(config or {})})
    more_identity: dict[str, Any] = {"views": views_a_painting}
    if start is not None:
        any_style_taken_over(start, network.encoder, network.painter, recipe.seed)
        more_identity["start"] = weights_digest(network)
    report(f"measuring {views_a_painting} views of each painting")
    squares = [
        views(one, views_a_painting, recipe.style_sizes, recipe.seed)
        for one in trainer.paintings.paintings
    ]
    training = trainer.train(
        network,
        StylesToLearn(
            shown=[Painting("", square) for each in squares for square in each],
            sizes=(_SIDE,),
            conditions=as_tensor(np.concatenate(squares)),
            a_painting=views_a_painting,
        ),
        network.painter.config,
        equalized=network.painter.painter,
        more_identity=more_identity,
        previews=previews,
        options=options,
    )
    network.cpu().eval()
    return TrainedAnyStylizer(
        **vars(training),
        encoder=network.encoder,
        painter=network.painter,
        paintings=trainer.paintings.names,
    )


def _fresh_network(config: dict[str, Any]) -> _EncoderDecoder:
    encoder = models.create("style_encoder", pretrained=False)
    painter = models.create("any_style", **{**config, "pretrained": False})
    if not (isinstance(encoder, StyleEncoder) and isinstance(painter, AnyStyleNet)):
        raise UsageError("the zoo's any_style and style_encoder are other networks")
    return _EncoderDecoder(encoder, painter)
