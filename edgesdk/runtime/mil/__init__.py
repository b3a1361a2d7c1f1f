"""Evaluate a saved ``.mlpackage`` without a Mac, operator by operator with torch.

>>> from edgesdk.runtime.mil import MilEvaluator
>>> evaluator = MilEvaluator("mobilenet.mlpackage", threads=2)  # doctest: +SKIP
>>> evaluator.run({"x": image})["output"]  # doctest: +SKIP

:data:`EVALUATOR_NOTE` describes the significance of a result.
"""

from __future__ import annotations

from edgesdk.runtime.mil.evaluator import EVALUATOR_NOTE, IntermediateValue, MilEvaluator
from edgesdk.runtime.mil.features import MilFeature, SizeRange
from edgesdk.runtime.mil.operators import known_operators
from edgesdk.runtime.mil.program import MilProgram, load

__all__ = [
    "EVALUATOR_NOTE",
    "IntermediateValue",
    "MilEvaluator",
    "MilFeature",
    "MilProgram",
    "SizeRange",
    "known_operators",
    "load",
]
