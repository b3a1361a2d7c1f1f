"""ONNX quantization in QDQ form, for ONNX Runtime."""

from __future__ import annotations

__all__: list[str] = []
