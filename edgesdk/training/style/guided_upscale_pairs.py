"""Training pairs of guided upscaling: a small painting and its full-size reference."""

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
    """Source of pictures, such as :class:`~edgesdk.training.style.photographs.Photographs`."""

    def __len__(self) -> int: ...

    def identity(self) -> str:
        """Return a digest of the pictures."""
        ...

    def crop(self, index: int, seed: int, turn: int) -> Picture:
        """Return a random square of a picture, ``uint8 [crop, crop, 3]``."""
        ...


@dataclass(frozen=True, eq=False)
class PaintedPair:
    """A picture painted at two sizes.

    Attributes:
        small: Painting to enlarge, ``uint8 [h, w, 3]``.
        reference: Painting at full size, ``uint8 [H, W, 3]``.
        original: Picture, ``uint8 [H, W, 3]``.
        reduced: True if ``small`` is the downscaled reference, because the painter paints
            differently at the small size.
    """

    small: Picture
    reference: Picture
    original: Picture
    reduced: bool


@dataclass(frozen=True, eq=False)
class StyleBatch:
    """Patches of a step, all of one scale.

    Attributes:
        painted: Small paintings, ``[N, 3, h, w]``, 0..1.
        original: Pictures, ``[N, 3, H, W]``, 0..1.
        reference: Paintings at full size, ``[N, 3, H, W]``, 0..1.
    """

    painted: torch.Tensor
    original: torch.Tensor
    reference: torch.Tensor


def matting_smoothed(
    painting: torch.Tensor, original: torch.Tensor, radius: int, epsilon: float
) -> torch.Tensor:
    """Fit a painting by a locally linear function of its picture's colours.

    This removes noise, halos and grids, which do not depend linearly on the picture, and keeps
    edges, which do. The guided filter of He et al., ECCV 2010, with a colour guide.

    Args:
        painting: Painting, ``[N, 3, H, W]``, 0..1.
        original: Picture, ``[N, 3, H, W]``, 0..1.
        radius: Radius of the windows in pixels; 0 returns the painting as it is.
        epsilon: Variance below which a window of the picture counts as plain.

    Returns:
        The smoothed painting, ``[N, 3, H, W]``.

    Raises:
        UsageError: The tensors have other or different shapes.
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
        """Return covariances, ``[N, H, W, 3, 3]``."""
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
    """Paint a picture at its own size and at a small one.

    A painter whose strokes have a fixed size in pixels paints differently at the small size; no
    upscaling can undo that, and training on it would teach blur. If the two paintings agree by less
    than ``agreement`` at the small size, the small painting is the downscaled reference. Both are
    downscaled by area, as in the video pipeline.

    Args:
        picture: Picture, ``uint8 [H, W, 3]``.
        painter: Stylizer; called twice.
        size: Height and width of the small painting.
        agreement: PSNR in dB; ``inf`` always downscales the reference, 0 never does.
        radius: Radius of the reference's smoothing, see :func:`matting_smoothed`.
        epsilon: Regularisation of that smoothing.

    Raises:
        ModelOutputError: The painter did not return a picture of the same size.
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
    is_array = isinstance(answer, np.ndarray)
    if not is_array or answer.dtype != np.uint8 or answer.shape != picture.shape:
        found = f"{answer.dtype} {answer.shape}" if is_array else type(answer).__name__
        raise ModelOutputError(
            f"the painter returned {found} for a picture of {picture.shape}",
            remedy="give a painter that returns uint8 pictures of the size of its input",
        )
    return answer


def _psnr(one: Picture, other: Picture) -> float:
    error = float(np.square(one.astype(np.float64) - other).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


class GuidedUpscaleBatches:
    """Batches of each step, as a function of the step alone.

    Args:
        photographs: Photographs to paint.
        painters: Stylizers, one drawn uniformly for each pair; they must be deterministic.
        recipe: Scales, sizes and seed.

    Raises:
        UsageError: Photographs or painters are missing.
    """

    def __init__(
        self, photographs: Photos, painters: Sequence[Painter], recipe: GuidedUpscaleRecipe
    ) -> None:
        if not len(photographs):
            raise UsageError("training needs photographs, and there are none")
        if not painters or not all(callable(painter) for painter in painters):
            raise UsageError("painters must be one or more functions from picture to picture")
        self._photographs, self._painters, self._recipe = photographs, tuple(painters), recipe
        self._kept: tuple[int, list[PaintedPair]] = (-1, [])

    def scale(self, step: int) -> Fraction:
        """Return the scale of a step, a multiple of 0.1."""
        recipe = self._recipe
        random = self._random("scale", step // recipe.steps_per_pair)
        least, most = round(recipe.smallest_scale * 10), round(recipe.largest_scale * 10)
        return Fraction(int(random.integers(least, most + 1)), 10)

    def at(self, step: int) -> StyleBatch:
        """Return the patches of a step.

        Raises:
            DataError: None of the photographs can be read.
            EdgeSdkError: A painter raised it.
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
