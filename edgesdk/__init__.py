"""Convert a PyTorch model for phones, verify each artefact against the original, and profile it.

Heavy packages are imported on first use: ``import edgesdk`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports
from edgesdk.version import __version__

if TYPE_CHECKING:
    from edgesdk.bundle.bundle import Bundle
    from edgesdk.errors import EdgeSdkError
    from edgesdk.exporter.cost import cost
    from edgesdk.exporter.export import export
    from edgesdk.exporter.options import ExportOptions
    from edgesdk.exporter.quantization.options import QuantizeOptions
    from edgesdk.host.environment.doctor import doctor
    from edgesdk.profiling.profile import profile
    from edgesdk.pruning.options import PruneOptions
    from edgesdk.pruning.prune import prune
    from edgesdk.report.quantize_report import quantize_report
    from edgesdk.report.writing import report, write_report
    from edgesdk.training.train import train
    from edgesdk.verification.verify_bundle import verify
    from edgesdk.video.stylize import StylizeOptions, stylize

__all__ = [
    "Bundle",
    "EdgeSdkError",
    "ExportOptions",
    "PruneOptions",
    "QuantizeOptions",
    "StylizeOptions",
    "__version__",
    "cost",
    "doctor",
    "export",
    "profile",
    "prune",
    "quantize_report",
    "report",
    "stylize",
    "train",
    "verify",
    "write_report",
]

__getattr__, _ = lazy_exports(
    __name__,
    {
        "edgesdk.bundle.bundle": ("Bundle",),
        "edgesdk.errors": ("EdgeSdkError",),
        "edgesdk.exporter.cost": ("cost",),
        "edgesdk.exporter.export": ("export",),
        "edgesdk.exporter.options": ("ExportOptions",),
        "edgesdk.exporter.quantization.options": ("QuantizeOptions",),
        "edgesdk.host.environment.doctor": ("doctor",),
        "edgesdk.profiling.profile": ("profile",),
        "edgesdk.pruning.options": ("PruneOptions",),
        "edgesdk.pruning.prune": ("prune",),
        "edgesdk.report.quantize_report": ("quantize_report",),
        "edgesdk.report.writing": ("report", "write_report"),
        "edgesdk.training.train": ("train",),
        "edgesdk.verification.verify_bundle": ("verify",),
        "edgesdk.video.stylize": ("StylizeOptions", "stylize"),
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
