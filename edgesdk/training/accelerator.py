"""Run on one process or several, on the device at hand, through Hugging Face accelerate."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from edgesdk.errors import MissingBackendError, TrainingError

__all__ = ["SingleProcess", "new_accelerator"]


class SingleProcess:
    """The part of ``accelerate.Accelerator`` that training uses, for one process on one device."""

    mixed_precision = "no"
    num_processes = 1
    process_index = 0
    is_main_process = True

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Return the model, which stays where it is."""
        return model

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""
        loss.backward()

    def reduce(self, value: Tensor, _how: str) -> Tensor:
        """Return the value: the sum over one process."""
        return value

    def gather(self, value: Tensor) -> Tensor:
        """Return the value of the only process."""
        return value

    def wait_for_everyone(self) -> None:
        """Return at once."""


def new_accelerator() -> Any:
    """Return an ``accelerate.Accelerator`` of all launched processes, without mixed precision.

    Raises:
        MissingBackendError: accelerate is not installed.
        TrainingError: accelerate is set to mixed precision, or joins fewer processes than were
            launched.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingBackendError("accelerate", "training") from error
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    # Without a GPU accelerate would treat each process as the only one.
    on_cpu = processes > 1 and not torch.accelerator.is_available()
    try:
        # Precision belongs to the recipe, so that a run does not depend on a machine's settings.
        accelerator = Accelerator(mixed_precision="no", cpu=on_cpu)
    except ValueError as error:
        raise TrainingError(
            f"accelerate cannot start: {error}",
            remedy="leave accelerate without mixed precision and set the recipe's precision",
        ) from error
    if accelerator.num_processes != processes:
        raise TrainingError(
            f"{processes} processes were launched, accelerate joins {accelerator.num_processes}",
            remedy="if the machine's GPUs cannot be shared out, set ACCELERATE_USE_CPU=1",
        )
    return accelerator
