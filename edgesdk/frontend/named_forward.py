"""Make a ``forward`` whose parameters are named after a model's inputs.

``torch.export`` and the converters name inputs after the parameters of ``forward``; the names are
only known once the model is loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["named_forward"]


def named_forward(
    names: Sequence[str], call: Callable[[Any, list[Any]], Any]
) -> Callable[..., Any]:
    """Make a method that accepts inputs by name or by position.

    Args:
        names: Parameter names after ``self``.
        call: Called with ``self`` and the inputs in order.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in ("self", *names)])

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs).arguments
        return call(self, [bound[name] for name in names])

    forward.__signature__ = signature  # type: ignore[attr-defined]
    return forward
