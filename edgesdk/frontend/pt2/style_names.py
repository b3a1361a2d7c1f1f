"""Attach style names to a program, which cannot keep attributes of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.errors import SourceError, UsageError
from edgesdk.style_names import check_style_names

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

__all__ = ["check_program_styles", "program_module"]

_REMEDY = "give one name for each value of the network's style input"


def check_program_styles(program: ExportedProgram, names: Sequence[str]) -> None:
    """Check that an input of the program takes one share per style name.

    Args:
        program: Any program.
        names: Style names; an empty list fits any program.

    Raises:
        UsageError: A name is not valid, or no input is a float vector of that length.
    """
    count = len(check_style_names(names))
    if count and not any(_takes(value, count) for value in _inputs(program)):
        raise UsageError(
            f"there are {count} style names, but no input of the program takes {count} shares",
            remedy=_REMEDY,
        )


def program_module(program: ExportedProgram, names: Sequence[str], path: Path) -> nn.Module:
    """Turn a program into a module with ``style_names``.

    Args:
        program: The program.
        names: Style names, not yet checked; empty for no attribute.
        path: Path of the file, for errors.

    Raises:
        SourceError: The names do not fit the program.
    """
    try:
        check_program_styles(program, names)
    except UsageError as error:
        raise SourceError(
            f"{path.name}: {error.message}", where=str(path), remedy=f"save it again: {_REMEDY}"
        ) from error
    module = program.module()
    if names:
        # setattr of a module is typed for tensors and modules only.
        object.__setattr__(module, "style_names", tuple(names))
    return module


def _inputs(program: ExportedProgram) -> Iterator[Tensor]:
    from torch import Tensor

    given = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and node.name in given and isinstance(value, Tensor):
            yield value


def _takes(value: Tensor, count: int) -> bool:
    if not value.dtype.is_floating_point or not value.shape:
        return False
    batch, *rest = value.shape
    # Only the batch may be free; with other free sizes it is an image.
    if not all(isinstance(size, int) for size in rest):
        return False
    sizes = [batch if isinstance(batch, int) else 1, *rest]
    return math.prod(sizes) == max(sizes) == count
