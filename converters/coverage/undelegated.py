"""Gather the operators a delegate left into the records of the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgesdk.bundle.manifest import UndelegatedOperator
from edgesdk.converters.coverage.rewrites import rewrite_for

__all__ = [
    "Reason",
    "Undelegated",
    "gather",
]

Reason: TypeAlias = Literal[
    "not supported", "dynamic shape", "dtype", "partition too small", "constraint", "unknown"
]

# Names come out of files that anybody may have written.
_LONGEST = 2_000


@dataclass(frozen=True)
class Undelegated:
    """One operator of the artefact that stays outside the delegate.

    Attributes:
        operator: Its name in the artefact.
        reason: Why, in one of the manifest's words.
        detail: Why, in the delegate's words or ours.
        module: Path of the module in the user's model.
        where: File and line in the user's code.
        origin: The user's operator it was decomposed from, where that has another name.
    """

    operator: str
    reason: Reason
    detail: str = ""
    module: str = ""
    where: str = ""
    origin: str = ""


def gather(found: Iterable[Undelegated], target: str) -> list[UndelegatedOperator]:
    """Count equal entries and look up their rewrites.

    Args:
        found: Every operator left, in the order of the artefact.
        target: Target with variant that the rewrite is for, such as ``executorch:xnnpack``.

    Returns:
        One record for each operator, reason and place, in order of first appearance.
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
    # What the user wrote is what the user can rewrite: its advice comes before its pieces'.
    for name in (item.origin, item.operator):
        text = rewrite_for(name, target, item.reason) if name else ""
        if text:
            return text
    return ""
