"""A bundle: the folder on disk, its samples and its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from edgesdk.bundle.bundle import Bundle
    from edgesdk.bundle.overview import overview_html, overview_text
    from edgesdk.bundle.writer import BundleWriter

__all__ = ["Bundle", "BundleWriter", "overview_html", "overview_text"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".bundle": ("Bundle",),
        ".overview": ("overview_html", "overview_text"),
        ".writer": ("BundleWriter",),
    },
)
