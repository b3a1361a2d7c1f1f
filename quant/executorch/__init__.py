"""ExecuTorch quantization by PT2E, for XNNPACK."""

from __future__ import annotations

__all__: list[str] = []
