"""Capture of a module's program, with weights traceable to the module's own."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgesdk.errors import CaptureError
from edgesdk.frontend.side_effects import copied, state_kept

__all__ = ["Example", "as_arguments", "program_of"]

#: One tensor, or one for each argument of ``forward``.
Example: TypeAlias = Tensor | tuple[Tensor, ...]


def as_arguments(example: Example) -> tuple[Tensor, ...]:
    """Return an example as positional arguments."""
    return (example,) if isinstance(example, Tensor) else tuple(example)


def program_of(model: nn.Module, example: Example) -> ExportedProgram:
    """Capture a module in evaluation mode, with operators of normalization and dropout.

    Args:
        model: Module; its mode is restored.
        example: Example input.

    Raises:
        CaptureError: ``torch.export`` cannot trace the module.
    """
    try:
        with _evaluated(model), state_kept(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(model, copied(as_arguments(example)), strict=False)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise CaptureError(
            f"torch.export cannot trace the model: {(lines or [type(error).__name__])[0]}",
            remedy="use only tensor operations in forward()",
        ) from error


@contextlib.contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
