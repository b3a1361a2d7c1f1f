"""What a training run tells: progress while it runs, a row an epoch afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["EpochRecord", "History", "Progress"]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: From 1.
        loss: Mean training loss a sample, of the augmented images.
        top1: Share of training samples that were right in the step that learnt from them, 0..1.
        validation_loss: Mean loss on the validation set without label smoothing, or None.
        validation_top1: Share of the validation set that is right, 0..1, or None.
        learning_rate: In the epoch's last step.
        seconds: Of training, without validation.
        images_per_second: Training images of all processes together a second.
    """

    epoch: int
    loss: float
    top1: float
    validation_loss: float | None
    validation_top1: float | None
    learning_rate: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class History:
    """A training run, from its first epoch even where it was resumed.

    Attributes:
        epochs: One record a finished epoch.
        steps: Steps of the optimizer since the beginning.
        finished: Whether the recipe was followed to its end.
        resumed_at: Step from which this call went on; 0 where it began.
    """

    epochs: tuple[EpochRecord, ...] = ()
    steps: int = 0
    finished: bool = False
    resumed_at: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON values."""
        return {**asdict(self), "epochs": [asdict(record) for record in self.epochs]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave.

        Raises:
            TypeError: Another form.
        """
        records = tuple(EpochRecord(**record) for record in values["epochs"])
        return cls(**{**values, "epochs": records})


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        epoch: From 1.
        epochs: Of the recipe.
        step: Steps done since the beginning of the run.
        steps: Of the whole run.
        loss: Mean training loss of this epoch so far.
        top1: Training top-1 of this epoch so far, 0..1.
        images_per_second: Of this epoch so far, in this call.
        seconds_left: Estimate for the rest of the training steps.
        record: The epoch's record, once, when the epoch has ended.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    top1: float
    images_per_second: float
    seconds_left: float
    record: EpochRecord | None = None
