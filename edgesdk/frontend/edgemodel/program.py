"""Save a model of any class as a captured program that keeps its own signature."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgesdk.errors import CaptureError, UsageError
from edgesdk.frontend.capture import user_location
from edgesdk.frontend.evaluation_mode import evaluation_mode
from edgesdk.frontend.pt2.reader import load_program
from edgesdk.frontend.side_effects import copied, state_kept
from edgesdk.host.atomic_write import storage_errors
from edgesdk.host.quiet import quiet_torch

__all__ = ["capture_model", "write_model_program"]

# Large enough for any batch; the product of a shape must stay within 64-bit sizes.
_LARGEST_BATCH = 65_536


def capture_model(model: nn.Module, example: Any) -> torch.export.ExportedProgram:
    """Capture a model in evaluation mode, with a free batch dimension if the model allows it.

    Args:
        model: The model; its modes are restored afterwards.
        example: A tensor, a tuple of positional or a dictionary of keyword arguments. If all
            tensors have the same first size, that is the batch.

    Raises:
        UsageError: The example holds no tensor.
        CaptureError: ``torch.export`` cannot trace the model.
    """
    args, kwargs = copied(_arguments(example))
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if not tensors:
        raise UsageError("the example holds no tensor", remedy="pass example inputs of the model")
    with evaluation_mode(model), state_kept(model), quiet_torch(), torch.no_grad():
        if _has_batch(tensors):
            try:
                return _captured(model, args, kwargs, free=True)
            except Exception:  # noqa: BLE001 - whatever it is, with all sizes fixed it shows again
                pass
        try:
            return _captured(model, args, kwargs, free=False)
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise CaptureError(
                "the model cannot be saved, because torch.export cannot trace it: "
                f"{lines[0] if lines else type(error).__name__}",
                where=user_location(error),
                remedy="keep forward() to tensor operations; see "
                "https://docs.pytorch.org/docs/stable/export.html",
            ) from error


def write_model_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Save a program and read it back as an untrusted file.

    Args:
        program: The program.
        path: The ``.pt2`` file.

    Raises:
        StorageError: The disk is full, read-only or without permission.
        SourceError: The program cannot be loaded again, for instance for operators of native code.
    """
    content = io.BytesIO()
    with quiet_torch():
        torch.export.save(program, content)
    with storage_errors("cannot write", path):
        path.write_bytes(content.getbuffer())
    load_program(path)


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, Sequence):
        return tuple(example), {}
    return (example,), {}


def _has_batch(tensors: Sequence[Tensor]) -> bool:
    sizes = {tensor.shape[0] if tensor.ndim else 0 for tensor in tensors}
    return len(sizes) == 1 and 0 not in sizes


def _captured(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, free: bool
) -> torch.export.ExportedProgram:
    given = (args, kwargs)
    shapes: Any = None
    if free:
        batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)

        def freed(leaf: Any) -> dict[int, Any] | None:
            return {0: batch} if isinstance(leaf, Tensor) else None

        def grown(leaf: Any) -> Any:
            # torch.export treats a size of 1 as a constant.
            alone = isinstance(leaf, Tensor) and leaf.shape[0] == 1
            return leaf.repeat_interleave(2, dim=0) if alone else leaf

        # An example is positional or by name, never both.
        shapes = pytree.tree_map(freed, kwargs if kwargs else args)
        args, kwargs = pytree.tree_map(grown, given)
    program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
    # Keep the user's example: it records how the model is called.
    program.example_inputs = given
    return program
