"""Paintings of a stylizer before and after conversion, imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from edgesdk.exporter.paintings.reference import OriginalPaintings
    from edgesdk.exporter.paintings.style_distance import perceptual_state
    from edgesdk.exporter.paintings.style_examples import even_styles, single_styles

__all__ = ["OriginalPaintings", "even_styles", "perceptual_state", "single_styles"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".reference": ("OriginalPaintings",),
        ".style_distance": ("perceptual_state",),
        ".style_examples": ("even_styles", "single_styles"),
    },
)
