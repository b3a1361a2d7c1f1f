"""Take a PyTorch model to phones: convert it, prove each copy equals the original, profile it.

Nothing heavy is imported until it is used: ``import edgesdk`` loads no torch.
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
    from edgesdk.pruning.prune import PruneOptions, prune
    from edgesdk.report import write_report
    from edgesdk.report.quantize_report import quantize_report
    from edgesdk.verification.verify_bundle import verify
    from edgesdk.video.stylize import stylize

__all__ = [
    "Bundle",
    "PruneOptions",
    "QuantizeOptions",
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
        "edgesdk.pruning.prune": ("PruneOptions", "prune"),
        "edgesdk.exporter.quantization.options": ("QuantizeOptions",),
        "edgesdk.report.quantize_report": ("quantize_report",),
        "edgesdk.report": ("write_report",),
        "edgesdk.video.stylize": ("stylize",),
        "edgesdk.verification.verify_bundle": ("verify",),
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
