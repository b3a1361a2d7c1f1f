"""Result of a search for the first wrong operator."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Deviation"]


@dataclass(frozen=True)
class Deviation:
    """Result of a search for the first wrong operator.

    Attributes:
        target: Target with variant.
        found: True if an operator or a stage deviates.
        stage: ``none``, ``capture``, ``operator``, ``artefact`` or ``interplay``.
        operator: The first operator that deviates, such as ``aten.conv2d.default``.
        node: Name of its node in the program.
        where: File and line in the user's model.
        module: Module path in the user's model.
        max_abs: Largest absolute difference of its value.
        cosine: Cosine similarity of its value.
        explanation: Explanation for users.
        conversions: Number of conversions in the search.
    """

    target: str
    found: bool
    stage: str
    operator: str = ""
    node: str = ""
    where: str = ""
    module: str = ""
    max_abs: float | None = None
    cosine: float | None = None
    explanation: str = ""
    conversions: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON."""
        return asdict(self)
