"""Records of a stylizer's training: progress while it runs, one record every 50 steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesdk.training.history import RunHistory

__all__ = ["StyleHistory", "StyleProgress", "StyleRecord"]


@dataclass(frozen=True)
class StyleRecord:
    """The steps since the previous record.

    Attributes:
        step: Steps done since the run began.
        losses: Mean of each unweighted loss term per picture, by name.
        total: Mean of the weighted sum.
        learning_rate: Learning rate of the last of these steps.
        pictures_per_second: Photographs per second over all processes.
    """

    step: int
    losses: Mapping[str, float]
    total: float
    learning_rate: float
    pictures_per_second: float


@dataclass(frozen=True, kw_only=True)
class StyleHistory(RunHistory):
    """A stylizer's training; see :class:`RunHistory` for the other attributes.

    Attributes:
        records: Records in order.
        skipped: Number of photographs and paintings that were left out.
    """

    _field = "records"
    _record = StyleRecord

    records: tuple[StyleRecord, ...] = ()
    skipped: int = 0


@dataclass(frozen=True)
class StyleProgress:
    """State of a run in progress.

    Attributes:
        step: Steps done since the run began.
        steps: Steps of the whole run.
        record: Means over the latest steps.
        seconds_left: Estimated time for the remaining steps.
        preview: Path of the preview that was just written, or None.
    """

    step: int
    steps: int
    record: StyleRecord
    seconds_left: float
    preview: str | None = None
