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
from edgesdk.training.counter_random import key
from edgesdk.training.engine import RunOptions
from edgesdk.training.style.fine_tuning import any_style_taken_over, weights_digest, widths_of
from edgesdk.training.style.paintings import Painting, as_tensor, scaled
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.train import StylesToLearn, StyleTrainer, StyleTraining

__all__ = ["TrainedAnyStylizer", "train_any_stylizer", "views"]

#: Squares that are cut from each painting; so many styles a painting is for the network.
_VIEWS = 16
_SIDE = 192


class _EncoderDecoder(nn.Module):
    """The encoder and the painter, trained as one."""

    def __init__(self, encoder: StyleEncoder, painter: AnyStyleNet) -> None:
        super().__init__()
        self.encoder, self.painter = encoder, painter

    def forward(self, pictures: torch.Tensor, paintings: torch.Tensor) -> torch.Tensor:
        return self.painter(pictures, self.encoder(paintings))


@dataclass(frozen=True, kw_only=True)
class TrainedAnyStylizer(StyleTraining):
    """What :func:`train_any_stylizer` did, and what is told of every training.

    Attributes:
        encoder: Trained, in evaluation mode.
        painter: Likewise.
        paintings: Names of the paintings it learnt from.
    """

    encoder: StyleEncoder
    painter: AnyStyleNet
    paintings: tuple[str, ...]

    def summary(self) -> str:
        """What it is, in a few words."""
        return f"any style, learnt from {len(self.paintings)} paintings"

    def to_dict(self) -> dict[str, Any]:
        """All but the networks, as JSON values."""
        return {"paintings": self.paintings, **super().to_dict()}


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
    start: Path | None = None,
    config: dict[str, Any] | None = None,
    perceptual: Path | None = None,
    previews: Path | None = None,
    options: RunOptions | None = None,
    views_a_painting: int = _VIEWS,
    report: Callable[[str], None] = lambda text: None,
) -> TrainedAnyStylizer:
    """Train an encoder of paintings and a network that paints in what it encodes.

    Args:
        content: Folder of photographs.
        styles: Folder of paintings, the more and the more different the better.
        recipe: How to train.
        start: ``NAME.edgemodel`` of a painter in any style, with its encoder beside it, to go on
            from; or of a network of many styles, whose convolutions and styles the painter begins
            with (:func:`~edgesdk.training.style.fine_tuning.any_style_taken_over`).
        config: Options of :class:`~edgesdk.models.any_style.AnyStyleNet`; widths that are not told
            are those of ``start``.
        perceptual: See :func:`~edgesdk.training.style.stylizer.train_stylizer`, like the next two.
        previews: Likewise.
        options: Likewise.
        views_a_painting: See :func:`views`.
        report: Called with a line of what is being done.

    Raises:
        EdgeSdkError: Likewise.
    """
    studio = StyleTrainer(content, styles, recipe, perceptual=perceptual, report=report)
    pupil = _pupil({**({} if start is None else widths_of(start)), **(config or {})})
    more_identity: dict[str, Any] = {"views": views_a_painting}
    if start is not None:
        any_style_taken_over(start, pupil.encoder, pupil.painter, recipe.seed)
        more_identity["start"] = weights_digest(pupil)
    report(f"looking at {views_a_painting} views of each painting")
    squares = [
        views(one, views_a_painting, recipe.style_sizes, recipe.seed)
        for one in studio.paintings.paintings
    ]
    training = studio.train(
        pupil,
        StylesToLearn(
            shown=[Painting("", square) for each in squares for square in each],
            sizes=(_SIDE,),
            conditions=as_tensor(np.concatenate(squares)),
            a_painting=views_a_painting,
        ),
        pupil.painter.config,
        evened=pupil.painter.painter,
        more_identity=more_identity,
        previews=previews,
        options=options,
    )
    pupil.cpu().eval()
    return TrainedAnyStylizer(
        **vars(training),
        encoder=pupil.encoder,
        painter=pupil.painter,
        paintings=studio.paintings.names,
    )


def _pupil(config: dict[str, Any]) -> _EncoderDecoder:
    encoder = models.create("style_encoder", pretrained=False)
    painter = models.create("any_style", **{**config, "pretrained": False})
    if not (isinstance(encoder, StyleEncoder) and isinstance(painter, AnyStyleNet)):
        raise UsageError("the zoo's any_style and style_encoder are other networks")
    return _EncoderDecoder(encoder, painter)
