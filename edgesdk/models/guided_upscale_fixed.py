"""Guided upscaling at one fixed scale, from plain convolutions that converters support.

At scale ``p / q`` every ``q x q`` cells of the small picture become ``p x p`` pixels of the large
one, by the same filters everywhere: one convolution of stride ``q`` with ``p * p`` outputs per
colour, whose window covers the cells and the reach of their filters, then a pixel shuffle.
Downscaling the guide is the reverse.
"""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.models.meta_upscale import edge_padded
from edgesdk.models.resampling import GUIDE_CHANNELS, area_matrix, cubic_matrix, guide_of, resized

if TYPE_CHECKING:
    from edgesdk.models.meta_upscale import MetaUpscale

__all__ = ["FixedScaleGuidedUpscale", "FixedScaleUpscale"]


class FixedScaleUpscale(nn.Module):
    """:class:`~edgesdk.models.meta_upscale.MetaUpscale` at one scale, its filters baked in.

    Args:
        upscale: Source of the filters; not changed.
        scale: ``p / q``.
    """

    kernel: torch.Tensor

    def __init__(self, upscale: MetaUpscale, scale: Fraction) -> None:
        super().__init__()
        self.p, self.q = scale.numerator, scale.denominator
        self.padding = upscale.kernel_size // 2
        with torch.no_grad():
            self.register_buffer("kernel", _joined(upscale.filters_for(scale), self.q))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map ``[N, width, q * n, q * m]`` to ``[N, channels, p * n, p * m]``."""
        answers = functional.conv2d(edge_padded(features, self.padding), self.kernel, stride=self.q)
        return functional.pixel_shuffle(answers, self.p) if self.p > 1 else answers


def _joined(filters: torch.Tensor, q: int) -> torch.Tensor:
    """Join filters ``[p, p, channels, width, k, k]`` to one kernel over ``q x q`` cells.

    Returns:
        ``[channels * p * p, width, q - 1 + k, q - 1 + k]``.
    """
    p, _, channels, width, size, _ = filters.shape
    reach = q - 1 + size
    kernel = filters.new_zeros(channels, p, p, width, reach, reach)
    for a in range(p):
        for b in range(p):
            y, x = a * q // p, b * q // p
            kernel[:, a, b, :, y : y + size, x : x + size] = filters[a, b]
    return kernel.flatten(0, 2)


def _inner(p: int, q: int) -> torch.Tensor:
    """Cubic weights ``[p, q + 4]`` of ``q`` pixels and 2 on either side in ``p`` smaller ones."""
    # Seven groups are wider than a cubic, so no edge affects the middle one.
    return cubic_matrix(7 * q, 7 * p)[3 * p : 4 * p, 3 * q - 2 : 4 * q + 2]


class FixedScaleGuidedUpscale(nn.Module):
    """:class:`~edgesdk.models.guided_upscale.GuidedUpscale` at one scale ``p / q``.

    Args:
        model: Source of the weights; not changed.
        scale: ``p / q``.

    Attributes:
        scale: ``p / q``.
    """

    cubic: torch.Tensor
    pooling: torch.Tensor

    def __init__(self, model: nn.Module, scale: Fraction) -> None:
        super().__init__()
        self.scale = scale
        self.body: Any = copy.deepcopy(model)
        # The baked filters replace the filter predictor.
        upscale = self.body.upscale
        del self.body.upscale
        self.upscale = FixedScaleUpscale(upscale, scale)
        p, q = scale.numerator, scale.denominator
        shares = area_matrix(p, q).to(upscale.predictor[0].weight)
        kernel = torch.einsum("ay,bx->abyx", shares, shares).reshape(q * q, 1, p, p)
        self.register_buffer("pooling", kernel.repeat(GUIDE_CHANNELS, 1, 1, 1))
        taps = _inner(p, q).to(shares)
        kernel = torch.einsum("ay,bx->abyx", taps, taps).reshape(p * p, 1, q + 4, q + 4)
        self.register_buffer("cubic", kernel.repeat(3, 1, 1, 1))

    def _cubic(self, x: torch.Tensor) -> torch.Tensor:
        p, q = self.scale.numerator, self.scale.denominator
        if p == 1:
            return x
        answers = functional.conv2d(edge_padded(x, 2), self.cubic, stride=q, groups=3)
        return functional.pixel_shuffle(answers, p)

    def _pooled(self, x: torch.Tensor) -> torch.Tensor:
        p, q = self.scale.numerator, self.scale.denominator
        if p == 1:
            return x
        answers = functional.conv2d(x, self.pooling, stride=p, groups=GUIDE_CHANNELS)
        return functional.pixel_shuffle(answers, q) if q > 1 else answers

    def forward(self, painted: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        """Enlarge paintings.

        Args:
            painted: ``[N, 3, q * n, q * m]``, RGB, 0..1.
            original: ``[N, 3, p * n, p * m]``, likewise.

        Returns:
            ``[N, 3, p * n, p * m]``, not clipped.

        Raises:
            UsageError: Sizes that are not multiples of ``q`` and ``p``, or do not match.
        """
        p, q = self.scale.numerator, self.scale.denominator
        size = tuple(side * p // q for side in painted.shape[2:])
        if any(side % q for side in painted.shape[2:]) or tuple(original.shape[2:]) != size:
            raise UsageError(
                f"a painting of {list(painted.shape[2:])} pixels and a picture of "
                f"{list(original.shape[2:])} pixels do not match at scale {self.scale}",
                remedy=f"give a painting with sides in multiples of {q}, and a picture of {p}/{q} "
                "times its size",
            )
        guide = self._pooled(guide_of(original))
        features, gains = self.body.features_and_gains(painted, guide)
        smooth, coarse = (self._cubic(one) for one in (painted, guide.narrow(1, 0, 3)))
        return self.body.refined(
            self.upscale(features) + smooth, resized(gains, size), coarse, original
        )
