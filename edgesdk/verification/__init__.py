"""Verify artefacts against their model: parity and its gates, accuracy drop, bisection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from edgesdk.verification.verify_bundle import require_parity, verify

__all__ = ["require_parity", "verify"]

__getattr__, __dir__ = lazy_exports(__name__, {".verify_bundle": ("require_parity", "verify")})
