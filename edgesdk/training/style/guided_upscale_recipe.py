"""Everything that decides how meta-smoothing is trained, as plain data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgesdk.errors import UsageError
from edgesdk.training.settings import Settings

__all__ = ["GuidedUpscaleRecipe"]


class GuidedUpscaleRecipe(Settings):
    """How to train meta-smoothing: frozen, JSON-able, checked.

    Attributes:
        steps: Of the optimizer.
        batch_size: Patches a step.
        pairs: Pictures painted for a step; its patches are cut from them in turn.
        steps_per_pair: Steps that cut other patches from the same paintings, at the same scale.
        crop: Side in pixels of the pictures that are painted.
        patch: Side in pixels, about, of the patches.
        smallest_scale: Scales are drawn in tenths from here ...
        largest_scale: ... to here.
        learning_rate: The highest of the run, of Adam; it falls to zero as a cosine.
        predictor_share: Of that rate, what the network that predicts filters learns with.
        warmup_steps: Steps in which the rate rises from zero.
        gradient_weight: Of the differences between gradients.
        gradients_of: What the answer's gradients are compared with: those of the ``original``
            picture, which makes a painting follow its edges and fade where it does not, or of the
            ``reference``, which makes it sharp and is nearer to the reference.
        variation_weight: Of the sum of squared differences between neighbouring pixels.
        balanced: Whether each patch counts by how far interpolation is from its reference, so that
            noisy paintings do not drown smooth ones.
        smoothing_radius: Of what cleans the reference, pixels; 0 for nothing.
        smoothing_epsilon: Likewise, see
            :func:`~edgesdk.training.style.guided_upscale_pairs.matting_smoothed`.
        agreement: dB by which paintings of two sizes must agree to make a pair.
        clip_gradient: Largest norm of the gradient; 0 for no limit.
        seed: Of everything random but the weights.

    Raises:
        UsageError: A value out of its range.
        UnknownNameError: An unknown key; the nearest known one is named.
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
                f"warmup_steps {self.warmup_steps} leave nothing of {self.steps} steps",
                remedy="set warmup_steps below steps",
            )
