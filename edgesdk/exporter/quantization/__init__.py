"""The quantized part of an export: calibration, artefacts, their proof, accuracy control."""

from __future__ import annotations

__all__: list[str] = []
