"""Delegate coverage per target: delegated operators, undelegated operators, and the reasons.

One module per target: :mod:`.executorch`, :mod:`.litert`, :mod:`.onnx`, :mod:`.coreml`. Each
returns a :class:`edgesdk.bundle.manifest.CoverageRecord`; :mod:`.rewrites` holds the forms of
operators that delegates support.
"""

from __future__ import annotations

__all__: list[str] = []
