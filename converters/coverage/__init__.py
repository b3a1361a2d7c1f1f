"""Delegate coverage per target: which operators the delegate took, which it left, and why.

One module a target: :mod:`.executorch`, :mod:`.litert`, :mod:`.onnx`, :mod:`.coreml`. Each gives a
:class:`edgesdk.bundle.manifest.schema.CoverageRecord`; :mod:`.rewrites` knows the forms that a
delegate takes.
"""

from __future__ import annotations

__all__: list[str] = []
