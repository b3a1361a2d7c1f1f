"""Rules of all MIL operators, grouped by topic; importing this package registers them."""

from __future__ import annotations

from edgesdk.runtime.mil.operators import (  # noqa: F401 - each registers its rules
    activation,
    convolution,
    creation,
    elementwise,
    indexing,
    linear,
    normalisation,
    ordering,
    pooling,
    quantized,
    rearrange,
    recurrent,
    reduction,
    resize,
    sampling,
    shape,
    slicing,
)
from edgesdk.runtime.mil.operators.registry import (
    OperatorRule,
    known_operators,
    operator,
    rule_of,
)

__all__ = ["OperatorRule", "known_operators", "operator", "rule_of"]
