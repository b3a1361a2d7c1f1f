"""ONNX: Microsoft's QDQ form, written and read back by us, computed by ONNX Runtime."""

from __future__ import annotations

__all__: list[str] = []
