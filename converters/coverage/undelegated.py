"""Collect undelegated operators into records of the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgesdk.bundle.manifest import UndelegatedOperator
from edgesdk.converters.coverage.rewrites import rewrite_for
from edgesdk.frontend.provenance import PREPROCESSING

__all__ = [
    "Reason",
    "Undelegated",
    "gather",
]

Reason: TypeAlias = Literal[
    "not supported", "dynamic shape", "dtype", "partition too small", "constraint", "unknown"
]

# Names come from untrusted files.
_LONGEST = 2_000


@dataclass(frozen=True)
class Undelegated:
    """One operator of the artefact that stays outside the delegate.

    Attributes:
        operator: Name in the artefact.
        reason: Reason, one of the manifest's.
        detail: Explanation of the reason.
        module: Path of the module in the user's model.
        where: File and line in the user's code; for the SDK's preprocessing
            :data:`edgesdk.frontend.provenance.PREPROCESSING`.
        origin: The user's operator it was decomposed from, if the name differs.
    """

    operator: str
    reason: Reason
    detail: str = ""
    module: str = ""
    where: str = ""
    origin: str = ""


def gather(found: Iterable[Undelegated], target: str) -> list[UndelegatedOperator]:
    """Count equal entries and add their known rewrites.

    Args:
        found: Undelegated operators, in the order of the artefact.
        target: Target with variant, such as ``executorch:xnnpack``.

    Returns:
        One record per operator, reason and place, in order of first appearance.
    """
    return [
        UndelegatedOperator(
            operator=item.operator,
            count=count,
            reason=item.reason,
            detail=_detail(item)[:_LONGEST],
            module=item.module[:_LONGEST],
            where=item.where[:_LONGEST],
            rewrite=_rewrite(item, target),
        )
        for item, count in Counter(found).items()
    ]


def _detail(item: Undelegated) -> str:
    if not item.origin:
        return item.detail
    return f"{item.detail} (part of {item.origin})" if item.detail else f"part of {item.origin}"


def _rewrite(item: Undelegated, target: str) -> str:
    if item.where == PREPROCESSING:
        return ""
    # The user can rewrite the original operator: its rewrite precedes those of its parts.
    for name in (item.origin, item.operator):
        text = rewrite_for(name, target, item.reason) if name else ""
        if text:
            return text
    return ""
