"""Quantized artefacts of an export: calibration, verification and accuracy control, imported on
first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from edgesdk.exporter.quantization.artefacts import QuantizedExport

__all__ = ["QuantizedExport"]

__getattr__, __dir__ = lazy_exports(__name__, {".artefacts": ("QuantizedExport",)})
