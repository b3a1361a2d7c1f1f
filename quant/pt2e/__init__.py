"""What ExecuTorch and Core ML share: torchao's PT2E flow, its layers, their arithmetic."""

from __future__ import annotations

__all__: list[str] = []
