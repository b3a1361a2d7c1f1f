"""Settings of a stylizer's training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from edgesdk.errors import UsageError
from edgesdk.training.settings import Settings

__all__ = ["StyleRecipe"]


class StyleRecipe(Settings):
    """Settings of a stylizer's training: frozen, checked, convertible to JSON.

    Losses are ratios (see :class:`~edgesdk.training.style.objective.StyleObjective`), so weights
    mean the same for every painting, layer and size.

    Attributes:
        steps: Optimizer steps.
        batch_size: Photographs per step over all processes.
        crop: Side of the crops of photographs in pixels; a multiple of 8.
        learning_rate: Peak learning rate of Adam.
        warmup_steps: Steps in which the rate rises from zero.
        schedule: ``cosine`` (to zero) or ``constant``.
        content_layers: Layers of the perceptual network to compare with the photograph.
        style_layers: Layers to compare with the painting; for several sizes, see
            :mod:`~edgesdk.training.style.perceptual`.
        style_sizes: Shorter sides in pixels to which a painting is scaled; its Gram matrices are
            the mean over them.
        content_weight: Weight of differences from the photograph's features.
        tone_weight: Weight of differences from its luminance at low resolution.
        style_weight: Weight of differences from the painting's Gram matrices.
        variation_weight: Weight of differences between neighbouring pixels.
        lattice_weight: Weight of strokes and dots that repeat every 16, 8 or 4 pixels; chance alone
            gives about 0.01 in a crop of 160 pixels.
        temporal_weight: Weight of flicker when the photograph moves.
        clip_gradient: Largest norm of the gradient; 0 for no limit.
        seed: Seed of the order, the crops, the motions and the weights.
        precision: ``fp32``, or ``bf16``/``fp16`` for mixed precision.

    Raises:
        UsageError: A value is out of range.
        UnknownNameError: A key is unknown; the message suggests the nearest known one.
    """

    steps: int = Field(default=6000, ge=1, le=10_000_000)
    batch_size: int = Field(default=4, ge=1, le=4096)
    crop: int = Field(default=192, ge=64, le=2048, multiple_of=8)
    learning_rate: float = Field(default=3e-3, gt=0)
    warmup_steps: int = Field(default=50, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    content_layers: tuple[str, ...] = ("conv3_3",)
    style_layers: tuple[str, ...] = (
        *("colours/4", "conv1_2", "conv2_2", "conv3_3", "conv4_1"),
        *("conv2_2/2", "conv3_3/2", "conv4_1/2"),
    )
    style_sizes: tuple[int, ...] = (256, 384)
    content_weight: float = Field(default=1.0, ge=0)
    tone_weight: float = Field(default=1.0, ge=0)
    style_weight: float = Field(default=4.0, ge=0)
    variation_weight: float = Field(default=1.0, ge=0)
    lattice_weight: float = Field(default=0.0, ge=0)
    temporal_weight: float = Field(default=0.0, ge=0)
    clip_gradient: float = Field(default=1.0, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    @field_validator("style_sizes", "content_layers", "style_layers", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """Accept one value, or ``a,b`` from a command line, for a list."""
        if isinstance(value, str):
            return [part.strip() for part in value.split(",")]
        return value if isinstance(value, list | tuple) else [value]

    @field_validator("style_sizes")
    @classmethod
    def _sizes(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or any(not 64 <= value <= 4096 for value in values):
            raise ValueError("style_sizes are one or more sides between 64 and 4096")
        return values

    @field_validator("content_layers", "style_layers")
    @classmethod
    def _layers(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError("layers are one or more different names, such as conv3_3")
        return values

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        if self.warmup_steps >= self.steps:
            raise UsageError(
                f"style recipe: warmup_steps {self.warmup_steps} are not below the {self.steps} "
                "steps",
                remedy="set warmup_steps below steps",
            )
