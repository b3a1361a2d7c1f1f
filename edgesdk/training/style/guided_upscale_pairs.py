"""What meta-smoothing learns from: small paintings, and what they should have become."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from edgesdk.errors import ModelOutputError, UsageError
from edgesdk.training.counter_random import key
from edgesdk.training.style.guided_upscale_recipe import GuidedUpscaleRecipe
from edgesdk.training.style.paintings import as_tensor
from edgesdk.video.downscale import shrunk_picture
from edgesdk.video.frames import Painter

__all__ = [
    "GuidedUpscaleBatches",
    "PaintedPair",
    "Photos",
    "StyleBatch",
    "matting_smoothed",
    "painted_pair",
]

Picture = NDArray[np.uint8]


class Photos(Protocol):
    """Where pictures come from: :class:`~edgesdk.training.style.photographs.Photographs`."""

    def __len__(self) -> int: ...

    def identity(self) -> str:
        """A digest: other pictures have another."""
        ...

    def crop(self, index: int, seed: int, turn: int) -> Picture:
        """A random square of a picture, ``uint8 [crop, crop, 3]``."""
        ...


@dataclass(frozen=True, eq=False)
class PaintedPair:
    """A picture painted at two sizes.

    Attributes:
        small: The painting to be enlarged, ``uint8 [h, w, 3]``.
        reference: What it should become, ``uint8 [H, W, 3]``.
        original: The picture, likewise.
        reduced: Whether ``small`` is the reference made small, because the painter paints another
            picture at the small size.
    """

    small: Picture
    reference: Picture
    original: Picture
    reduced: bool


@dataclass(frozen=True, eq=False)
class StyleBatch:
    """A step's patches, all of one scale.

    Attributes:
        painted: ``[N, 3, h, w]``, 0..1.
        original: ``[N, 3, H, W]``.
        reference: Likewise.
    """

    painted: torch.Tensor
    original: torch.Tensor
    reference: torch.Tensor


def matting_smoothed(
    painting: torch.Tensor, original: torch.Tensor, radius: int, epsilon: float
) -> torch.Tensor:
    """A painting as a locally linear function of its picture's colours.

    What photorealistic stylizers clean their results with: noise, halos and grids are in no linear
    relation to the picture; edges are. The guided filter of He et al., ECCV 2010, with a colour
    guide.

    Args:
        painting: ``[N, 3, H, W]``, 0..1.
        original: Likewise.
        radius: Of the windows, pixels; 0 leaves the painting as it is.
        epsilon: Variance below which a window of the picture counts as plain.

    Returns:
        ``[N, 3, H, W]``.

    Raises:
        UsageError: Tensors of other or different shapes.
    """
    if painting.shape != original.shape or painting.dim() != 4 or painting.shape[1] != 3:
        raise UsageError(
            f"painting {list(painting.shape)} and picture {list(original.shape)} must be of one "
            "shape [N, 3, H, W]"
        )
    if radius == 0:
        return painting

    def mean(x: torch.Tensor) -> torch.Tensor:
        side = 2 * radius + 1
        return functional.avg_pool2d(x, side, 1, radius, count_include_pad=False)

    def products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Covariances, ``[N, H, W, 3, 3]``."""
        both = mean((a[:, :, None] * b[:, None]).flatten(1, 2)).unflatten(1, (3, 3))
        return (both - mean(a)[:, :, None] * mean(b)[:, None]).permute(0, 3, 4, 1, 2)

    own = products(original, original) + epsilon * torch.eye(3).to(original)
    gains = torch.linalg.solve(own, products(original, painting)).permute(0, 3, 4, 1, 2)
    rest = mean(painting) - torch.einsum("nkchw,nkhw->nchw", gains, mean(original))
    gains = mean(gains.flatten(1, 2)).unflatten(1, (3, 3))
    return torch.einsum("nkchw,nkhw->nchw", gains, original) + mean(rest)


def painted_pair(
    picture: Picture,
    painter: Painter,
    size: tuple[int, int],
    *,
    agreement: float = 26.0,
    radius: int = 0,
    epsilon: float = 1e-4,
) -> PaintedPair:
    """Have a picture painted at its own size and at a small one.

    A painter whose strokes have a size in pixels paints another picture at the small size; nothing
    that enlarges could turn one into the other, and learning it would teach blur. Where the two
    agree less than ``agreement`` at the small size, the small painting is the reference made small.
    Both are made small as the video pipeline does it, by area.

    Args:
        picture: ``uint8 [H, W, 3]``.
        painter: Called twice.
        size: Small height and width.
        agreement: PSNR, dB; ``inf`` always makes the reference small, 0 never does.
        radius: Of the smoothing of the reference, see :func:`matting_smoothed`.
        epsilon: Likewise.

    Raises:
        ModelOutputError: The painter returned something that is no picture of the same size.
        UsageError: ``size`` is empty or larger than the picture.
        MissingEnvironmentError: The native core cannot be built.
    """
    reference = _painted(painter, picture)
    small_painting = np.empty(0, np.uint8)
    agree = -math.inf
    reduced = shrunk_picture(reference, size[1], size[0])
    if math.isfinite(agreement):
        small_painting = _painted(painter, shrunk_picture(picture, size[1], size[0]))
        agree = _psnr(small_painting, reduced)
    if radius:
        smooth = matting_smoothed(as_tensor(reference), as_tensor(picture), radius, epsilon)
        levels = smooth[0].permute(1, 2, 0).mul(255).round().clamp(0, 255)
        reference = levels.to(torch.uint8).numpy()
    if agree < agreement:
        return PaintedPair(reduced, reference, picture, True)
    return PaintedPair(small_painting, reference, picture, False)


def _painted(painter: Painter, picture: Picture) -> Picture:
    answer = painter(picture.copy())
    if (
        not isinstance(answer, np.ndarray)
        or answer.dtype != np.uint8
        or answer.shape != picture.shape
    ):
        told = (
            f"{answer.dtype} {answer.shape}"
            if isinstance(answer, np.ndarray)
            else type(answer).__name__
        )
        raise ModelOutputError(
            f"the painter returned {told} for a picture of {picture.shape}",
            remedy="give a painter that returns uint8 of the size it was shown",
        )
    return answer


def _psnr(one: Picture, other: Picture) -> float:
    error = float(np.square(one.astype(np.float64) - other).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


class GuidedUpscaleBatches:
    """What each step learns from, as a function of the step alone.

    Args:
        photographs: To paint.
        painters: One is drawn for each pair, all alike often; they must answer the same every time.
        recipe: Says scales, sizes and seed.

    Raises:
        UsageError: No photograph or no painter.
    """

    def __init__(
        self, photographs: Photos, painters: Sequence[Painter], recipe: GuidedUpscaleRecipe
    ) -> None:
        if not len(photographs):
            raise UsageError("there is no photograph to learn from")
        if not painters or not all(callable(painter) for painter in painters):
            raise UsageError("painters must be one or more functions from picture to picture")
        self._photographs, self._painters, self._recipe = photographs, tuple(painters), recipe
        self._kept: tuple[int, list[PaintedPair]] = (-1, [])

    def scale(self, step: int) -> Fraction:
        """The scale of a step, a whole number of tenths."""
        recipe = self._recipe
        random = self._random("scale", step // recipe.steps_per_pair)
        least, most = round(recipe.smallest_scale * 10), round(recipe.largest_scale * 10)
        return Fraction(int(random.integers(least, most + 1)), 10)

    def at(self, step: int) -> StyleBatch:
        """The patches of a step.

        Raises:
            DataError: No photograph can be read.
            EdgeSdkError: As the painters do.
        """
        recipe, scale = self._recipe, self.scale(step)
        p, q = scale.numerator, scale.denominator
        pairs = self._pairs(step // recipe.steps_per_pair, scale)
        patches = []
        for number in range(recipe.batch_size):
            pair = pairs[number % len(pairs)]
            whole = pair.small.shape[0] // q
            cells = min(whole, max(1, round(recipe.patch / p)))
            random = self._random("patch", step, number)
            down, across = (int(one) for one in random.integers(0, whole - cells + 1, 2))
            patches.append(
                [
                    picture[down * unit :, across * unit :][: cells * unit, : cells * unit]
                    for picture, unit in ((pair.small, q), (pair.original, p), (pair.reference, p))
                ]
            )
        return StyleBatch(*(as_tensor(np.stack(column)) for column in zip(*patches, strict=True)))

    def _random(self, purpose: str, *numbers: int) -> np.random.Generator:
        return np.random.default_rng(key(self._recipe.seed, purpose, *numbers))

    def _pairs(self, turn: int, scale: Fraction) -> list[PaintedPair]:
        if self._kept[0] != turn:
            recipe = self._recipe
            pairs = []
            for number in range(recipe.pairs):
                random = self._random("pair", turn, number)
                painter = self._painters[int(random.integers(len(self._painters)))]
                index = int(random.integers(len(self._photographs)))
                drawn = turn * recipe.pairs + number
                picture = self._photographs.crop(index, recipe.seed, drawn)
                cells = max(1, min(picture.shape[:2]) // scale.numerator)
                side = cells * scale.numerator
                pairs.append(
                    painted_pair(
                        np.ascontiguousarray(picture[:side, :side]),
                        painter,
                        (cells * scale.denominator,) * 2,
                        agreement=recipe.agreement,
                        radius=recipe.smoothing_radius,
                        epsilon=recipe.smoothing_epsilon,
                    )
                )
            self._kept = (turn, pairs)
        return self._kept[1]
