"""Records of a classifier's training: progress while it runs, one record an epoch afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

__all__ = ["EpochRecord", "History", "Progress", "RunHistory"]


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Mean training loss per sample, on augmented images.
        top1: Share of training samples classified correctly in the step that trained on them, 0..1.
        validation_loss: Mean loss on the validation set without label smoothing, or None.
        validation_top1: Share of the validation set classified correctly, 0..1, or None.
        learning_rate: Learning rate of the epoch's last step.
        seconds: Training time, without validation.
        images_per_second: Training images per second over all processes.
    """

    epoch: int
    loss: float
    top1: float
    validation_loss: float | None
    validation_top1: float | None
    learning_rate: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """A training, from its first step even if it was resumed.

    A subclass names the field and the class of its records.

    Attributes:
        steps: Optimizer steps since the run began.
        finished: True if the recipe was completed.
        resumed_at: Step at which this call resumed; 0 if it started the run.
    """

    _field: ClassVar[str]
    _record: ClassVar[type]

    steps: int = 0
    finished: bool = False
    resumed_at: int = 0

    def plus(self, record: Any) -> Self:
        """Return this history with one more record."""
        fields: dict[str, Any] = {self._field: (*getattr(self, self._field), record)}
        return replace(self, **fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the history as JSON values."""
        return {**asdict(self), self._field: [asdict(one) for one in getattr(self, self._field)]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a history from the values of :meth:`to_dict`.

        Raises:
            KeyError, TypeError: The values have another form.
        """
        records = tuple(cls._record(**record) for record in values[cls._field])
        return cls(**{**values, cls._field: records})


@dataclass(frozen=True, kw_only=True)
class History(RunHistory):
    """A classifier's training; see :class:`RunHistory` for the other attributes.

    Attributes:
        epochs: One record per finished epoch.
    """

    _field = "epochs"
    _record = EpochRecord

    epochs: tuple[EpochRecord, ...] = ()


@dataclass(frozen=True)
class Progress:
    """State of a run in progress.

    Attributes:
        epoch: Number of the current epoch, from 1.
        epochs: Epochs of the recipe.
        step: Steps done since the run began.
        steps: Steps of the whole run.
        loss: Mean training loss of this epoch so far.
        top1: Training top-1 accuracy of this epoch so far, 0..1.
        images_per_second: Training speed in this epoch.
        seconds_left: Estimated time for the remaining training steps.
        record: The epoch's record, in the call that ends the epoch; else None.
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
