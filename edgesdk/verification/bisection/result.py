"""What a search for the first wrong operator answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Deviation"]


@dataclass(frozen=True)
class Deviation:
    """What a search found.

    Attributes:
        target: Target with variant.
        found: Whether an operator, or a stage, is to blame.
        stage: ``none``, ``capture``, ``operator``, ``artefact`` or ``interplay``.
        operator: The first operator that deviates, such as ``aten.conv2d.default``.
        node: Its name in the program.
        where: File and line in the user's model.
        module: Module path in the user's model.
        max_abs: Largest difference there.
        cosine: Cosine similarity there.
        explanation: In words.
        conversions: Conversions the search took.
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
        """Plain JSON."""
        return asdict(self)
