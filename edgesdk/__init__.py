"""Convert a PyTorch model for phones, verify each artefact against the original, and profile it.

Heavy packages are imported on first use: ``import edgesdk`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports
from edgesdk.version import __version__

if TYPE_CHECKING:
    from edgesdk.bundle.bundle import Bundle
    from edgesdk.exporter.export import export
    from edgesdk.exporter.quantization.options import QuantizeOptions
    from edgesdk.profiling.profile import profile
    from edgesdk.pruning.options import PruneOptions
    from edgesdk.pruning.prune import prune
    from edgesdk.report import write_report
    from edgesdk.report.quantize_report import quantize_report
    from edgesdk.verification.verify_bundle import verify
    from edgesdk.video.stylize import StylizeOptions, stylize

__all__ = [
    "Bundle",
    "PruneOptions",
    "QuantizeOptions",
    "StylizeOptions",
    "__version__",
    "export",
    "profile",
    "prune",
    "quantize_report",
    "stylize",
    "verify",
    "write_report",
]

__getattr__, _ = lazy_exports(
    __name__,
    {
        "edgesdk.bundle.bundle": ("Bundle",),
        "edgesdk.exporter.export": ("export",),
        "edgesdk.profiling.profile": ("profile",),
        "edgesdk.pruning.options": ("PruneOptions",),
        "edgesdk.pruning.prune": ("prune",),
        "edgesdk.exporter.quantization.options": ("QuantizeOptions",),
        "edgesdk.report.quantize_report": ("quantize_report",),
        "edgesdk.report": ("write_report",),
        "edgesdk.video.stylize": ("StylizeOptions", "stylize"),
        "edgesdk.verification.verify_bundle": ("verify",),
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
