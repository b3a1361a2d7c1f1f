"""Sessions: run any artefact through one interface, NumPy in and NumPy out.

>>> from edgesdk import runtime
>>> with runtime.open("mobilenet.edge/model.onnx", threads=2) as session:  # doctest: +SKIP
...     scores = session.run({"x": image})["output"]
"""

from __future__ import annotations

from edgesdk.runtime.opening import open
from edgesdk.runtime.session import MeasuredOperator, Session

__all__ = ["MeasuredOperator", "Session", "open"]
