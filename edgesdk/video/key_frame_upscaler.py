"""Enlarge paintings of key frames with a trained network instead of the native core."""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from edgesdk.errors import ModelOutputError, UsageError
from edgesdk.models.guided_upscale import GuidedUpscale, load_guided_upscale
from edgesdk.models.meta_upscale import exact_scale
from edgesdk.video.painter_worker import painter_size
from edgesdk.video.pictures import checked_picture

__all__ = ["KeyFrameUpscaler"]

Picture = NDArray[np.uint8]


class KeyFrameUpscaler:
    """Enlarges paintings of scaled-down key frames along the edges of the key frame.

    >>> pipeline = VideoPipeline(painter, enlarge=KeyFrameUpscaler())    # doctest: +SKIP

    An :data:`~edgesdk.video.frames.Enlarger` of :class:`~edgesdk.video.pipeline.VideoPipeline`.

    Args:
        weights: A network, or a ``.safetensors`` file of
            :func:`~edgesdk.models.guided_upscale.guided_upscale_bytes`; None: the package's.

    Raises:
        WeightsError: The file is missing, damaged or of another network.
    """

    def __init__(self, weights: str | os.PathLike[str] | GuidedUpscale | None = None) -> None:
        if isinstance(weights, GuidedUpscale):
            self._model = weights
        else:
            self._model = load_guided_upscale(None if weights is None else os.fspath(weights))

    def check(self, width: int, height: int, max_size: int | None) -> None:
        """Check that the paintings of a video are large enough, before the first is painted.

        Args:
            width, height: Size of the frames, pixels.
            max_size: Longest side the painter is shown; None: full size.

        Raises:
            UsageError: The scale is beyond the network's range.
        """
        small = painter_size(width, height, max_size)
        for full, part in zip((width, height), small, strict=True):
            try:
                exact_scale(Fraction(full, part))
            except UsageError as error:
                raise UsageError(
                    f"{small[0]} x {small[1]} pixels cannot be upscaled to {width} x {height}",
                    remedy="raise max_size",
                ) from error

    def __call__(self, painted: Picture, original: Picture) -> Picture:
        """Enlarge a painting to ``uint8 [H, W, 3]``.

        Args:
            painted: ``uint8 [h, w, 3]``, RGB.
            original: The full-size picture that was scaled down and painted, ``uint8 [H, W, 3]``.

        Raises:
            UsageError: They are not pictures, or do not belong together.
            ModelOutputError: The network's output is not finite.
        """
        for name, picture in (("painted", painted), ("original", original)):
            if checked_picture(name, picture, None, grey=False).shape[2] != 3:
                raise UsageError(f"{name} must be RGB without transparency")
        with torch.inference_mode():
            answer = self._model(_tensor(painted), _tensor(original))[0]
            if not torch.isfinite(answer).all():
                raise ModelOutputError("the upscaling network's output is not finite")
            levels = answer.clamp_(0, 1).mul_(255).add_(0.5).to(torch.uint8)
            return levels.permute(1, 2, 0).contiguous().numpy()


def _tensor(picture: Picture) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return pixels[None].float().div_(255)
