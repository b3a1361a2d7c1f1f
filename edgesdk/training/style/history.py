"""What the training of a stylizer tells: progress while it runs, rows afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["StyleHistory", "StyleProgress", "StyleRecord"]


@dataclass(frozen=True)
class StyleRecord:
    """The steps since the record before.

    Attributes:
        step: Steps done since the run began.
        losses: Mean of each part a picture, unweighted, by name.
        total: Mean of the weighted sum.
        learning_rate: Of the last of these steps.
        pictures_per_second: Photographs of all processes together a second.
    """

    step: int
    losses: Mapping[str, float]
    total: float
    learning_rate: float
    pictures_per_second: float


@dataclass(frozen=True)
class StyleHistory:
    """A training run, from its first step even where it was resumed.

    Attributes:
        records: In their order.
        steps: Of the optimizer since the beginning.
        finished: Whether the recipe was followed to its end.
        resumed_at: Step from which this call went on; 0 where it began.
        skipped: Files of photographs and paintings that were left out.
    """

    records: tuple[StyleRecord, ...] = ()
    steps: int = 0
    finished: bool = False
    resumed_at: int = 0
    skipped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON values."""
        return {**asdict(self), "records": [asdict(record) for record in self.records]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave.

        Raises:
            TypeError: Another form.
        """
        records = tuple(StyleRecord(**record) for record in values["records"])
        return cls(**{**values, "records": records})


@dataclass(frozen=True)
class StyleProgress:
    """Where a run is.

    Attributes:
        step: Steps done since the beginning of the run.
        steps: Of the whole run.
        record: Of the last steps.
        seconds_left: Estimate for the rest.
        preview: The picture that was just written, or None.
    """

    step: int
    steps: int
    record: StyleRecord
    seconds_left: float
    preview: str | None = None
