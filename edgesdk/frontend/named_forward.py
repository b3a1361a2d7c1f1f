"""A ``forward`` whose parameters have the names of a model's inputs.

``torch.export`` and the converters after it name inputs after the parameters of ``forward``, and
those are only known once the model is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["named_forward"]


def named_forward(
    names: Sequence[str], call: Callable[[Any, list[Any]], Any]
) -> Callable[..., Any]:
    """Make a method that takes inputs by name or in order.

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
