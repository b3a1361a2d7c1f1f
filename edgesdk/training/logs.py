"""Logs that TensorBoard shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgesdk.errors import MissingBackendError
from edgesdk.host.atomic_write import storage_errors
from edgesdk.training.history import EpochRecord

__all__ = ["TrainingLogs"]


class TrainingLogs:
    """Writes scalars to event files; without a folder it writes nothing.

    Args:
        folder: Where the event files go, or None.
        step: Step at which the run goes on; later entries of an interrupted run are purged.

    Raises:
        MissingBackendError: tensorboard is not installed.
        StorageError: The folder cannot be written.
    """

    def __init__(self, folder: Path | None, step: int = 0) -> None:
        self._writer: Any = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingBackendError("tensorboard", "training") from error
        with storage_errors("cannot write", folder):
            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def step(self, step: int, loss: float, learning_rate: float) -> None:
        """Loss of the epoch so far and learning rate at a step."""
        if self._writer is not None:
            self._writer.add_scalar("step/loss", loss, step)
            self._writer.add_scalar("step/learning_rate", learning_rate, step)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Any values at a step, by name."""
        if self._writer is None:
            return
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def epoch(self, step: int, record: EpochRecord) -> None:
        """Everything of an epoch, at its last step."""
        values = {
            "loss/train": record.loss,
            "top1/train": record.top1,
            "loss/validation": record.validation_loss,
            "top1/validation": record.validation_top1,
            "speed/images_per_second": record.images_per_second,
            "learning_rate": record.learning_rate,
        }
        self.values(step, {name: value for name, value in values.items() if value is not None})
