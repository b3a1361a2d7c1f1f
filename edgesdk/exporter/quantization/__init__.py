"""Quantized artefacts of an export: calibration, verification and accuracy control, imported on
first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from edgesdk.exporter.quantization.artefacts import QuantizedExport
    from edgesdk.quant.float_norms import with_float_norms
    from edgesdk.quant.support import require_support

__all__ = ["QuantizedExport", "require_support", "with_float_norms"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".artefacts": ("QuantizedExport",),
        "edgesdk.quant.float_norms": ("with_float_norms",),
        "edgesdk.quant.support": ("require_support",),
    },
)
