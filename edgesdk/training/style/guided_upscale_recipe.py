"""Settings of the training of guided upscaling."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgesdk.errors import UsageError
from edgesdk.training.settings import Settings

__all__ = ["GuidedUpscaleRecipe"]


class GuidedUpscaleRecipe(Settings):
    """Settings of the training of guided upscaling: frozen, checked, convertible to JSON.

    Attributes:
        steps: Optimizer steps.
        batch_size: Patches per step.
        pairs: Pictures painted for a step; its patches are cut from them in turn.
        steps_per_pair: Steps that cut patches from the same paintings, at the same scale.
        crop: Side of the painted pictures in pixels.
        patch: Approximate side of the patches in pixels.
        smallest_scale: Smallest scale; scales are drawn in tenths.
        largest_scale: Largest scale.
        learning_rate: Peak learning rate of Adam, followed by a cosine to zero.
        predictor_share: Share of that rate for the network that predicts filters.
        warmup_steps: Steps in which the rate rises from zero.
        gradient_weight: Weight of the differences between gradients.
        gradients_of: Target of the output's gradients: the ``original`` picture makes a painting
            follow the picture's edges and fade elsewhere; the ``reference`` makes it sharp and
            closer to the reference.
        variation_weight: Weight of the sum of squared differences between neighbouring pixels.
        balanced: True to weight each patch by the error of interpolation, so that noisy paintings
            do not dominate smooth ones.
        smoothing_radius: Radius in pixels of the filter that cleans the reference; 0 for none.
        smoothing_epsilon: Regularisation of that filter, see
            :func:`~edgesdk.training.style.guided_upscale_pairs.matting_smoothed`.
        agreement: Least PSNR in dB between paintings of two sizes that make a pair.
        clip_gradient: Largest norm of the gradient; 0 for no limit.
        seed: Seed of everything random but the weights.

    Raises:
        UsageError: A value is out of range.
        UnknownNameError: A key is unknown; the message suggests the nearest known one.
    """

    steps: int = Field(default=6000, ge=1, le=10_000_000)
    batch_size: int = Field(default=4, ge=1, le=4096)
    pairs: int = Field(default=4, ge=1, le=4096)
    steps_per_pair: int = Field(default=6, ge=1, le=1000)
    crop: int = Field(default=256, ge=64, le=2048)
    patch: int = Field(default=112, ge=16, le=2048)
    smallest_scale: float = Field(default=1.1, ge=1, le=8)
    largest_scale: float = Field(default=4.0, ge=1, le=8)
    learning_rate: float = Field(default=2e-3, gt=0)
    predictor_share: float = Field(default=0.05, gt=0, le=1)
    warmup_steps: int = Field(default=50, ge=0)
    gradient_weight: float = Field(default=0.1, ge=0)
    gradients_of: Literal["original", "reference"] = "reference"
    variation_weight: float = Field(default=1e-6, ge=0)
    balanced: bool = True
    smoothing_radius: int = Field(default=0, ge=0, le=64)
    smoothing_epsilon: float = Field(default=1e-4, gt=0)
    agreement: float = Field(default=26.0, ge=0)
    clip_gradient: float = Field(default=1.0, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**63)

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        if self.smallest_scale > self.largest_scale:
            raise UsageError(
                f"smallest_scale {self.smallest_scale} is above largest_scale {self.largest_scale}"
            )
        if self.pairs > self.batch_size:
            raise UsageError(
                f"pairs {self.pairs} are more than the {self.batch_size} patches of a step",
                remedy="set pairs to batch_size or less",
            )
        if self.warmup_steps >= self.steps:
            raise UsageError(
                f"warmup_steps {self.warmup_steps} are not below the {self.steps} steps",
                remedy="set warmup_steps below steps",
            )
