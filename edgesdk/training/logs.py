"""Write training logs for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesdk.errors import MissingBackendError
from edgesdk.host.atomic_write import storage_errors
from edgesdk.host.closing import Closing

__all__ = ["TrainingLogs"]


class TrainingLogs(Closing):
    """Writer of scalars to event files; without a folder it writes nothing.

    Args:
        folder: Folder of the event files, or None.
        step: Step at which the run resumes; later entries of an interrupted run are purged.

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

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Write values at a step, by name."""
        if self._writer is None or not values:
            return
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
