"""One process or several, on whatever device there is, by Hugging Face accelerate."""

from __future__ import annotations

import os
from typing import Any

import torch

from edgesdk.errors import MissingBackendError, TrainingError

__all__ = ["new_accelerator"]


def new_accelerator() -> Any:
    """An ``accelerate.Accelerator`` of all launched processes, without mixed precision.

    Raises:
        MissingBackendError: accelerate is not installed.
        TrainingError: It is set to mixed precision, or joins fewer processes than were launched.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingBackendError("accelerate", "training") from error
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    # Without a graphics processor accelerate would take each process for the only one.
    on_cpu = processes > 1 and not torch.accelerator.is_available()
    try:
        # Precision belongs to the recipe, so that a run does not depend on a machine's settings.
        accelerator = Accelerator(mixed_precision="no", cpu=on_cpu)
    except ValueError as error:
        raise TrainingError(
            f"accelerate cannot begin: {error}",
            remedy="leave accelerate without mixed precision and set the recipe's precision",
        ) from error
    if accelerator.num_processes != processes:
        raise TrainingError(
            f"{processes} processes were launched, accelerate joins {accelerator.num_processes}",
            remedy="on a machine whose graphics processors cannot be shared out, set "
            "ACCELERATE_USE_CPU=1",
        )
    return accelerator
