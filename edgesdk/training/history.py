"""Records of a training: sums and progress while it runs, one record an epoch afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Self

__all__ = ["EpochRecord", "History", "Position", "Progress", "RunHistory"]


@dataclass
class Position:
    """Progress of a run.

    Attributes:
        step: Optimizer steps since the run began.
        sums: Sum of each measure over the samples since the last record, by name.
        samples: Number of these samples.
        seconds: Training time of these samples.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    samples: float = 0.0
    seconds: float = 0.0

    def count(self, names: Sequence[str], sums: Sequence[float], seconds: float) -> None:
        """Add the sums of some steps; the last one is the number of samples."""
        for name, value in zip(names, sums, strict=False):
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.samples += sums[-1]
        self.seconds += seconds

    def restart(self) -> None:
        """Begin the sums of the next record."""
        self.sums, self.samples, self.seconds = {}, 0.0, 0.0

    @property
    def means(self) -> dict[str, float]:
        """Mean of each measure per sample."""
        return {name: value / self.samples for name, value in self.sums.items()}

    @property
    def speed(self) -> float:
        """Samples per second."""
        return self.samples / max(self.seconds, 1e-9)


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
