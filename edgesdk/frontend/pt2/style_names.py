"""Names of styles that go with a program, which has no attributes of its own to keep them in."""

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
    """Require an input that takes the shares of as many styles as have names.

    Args:
        program: Any.
        names: None at all are the names of any program.

    Raises:
        UsageError: They are no names of styles, or no input is a float vector of that length.
    """
    count = len(check_style_names(names))
    if count and not any(_takes(value, count) for value in _inputs(program)):
        raise UsageError(
            f"{count} styles have names, and no input of the program takes {count} shares",
            remedy=_REMEDY,
        )


def program_module(program: ExportedProgram, names: Sequence[str], path: Path) -> nn.Module:
    """A program from a file as a module whose ``style_names`` are those that the file says.

    Args:
        program: As it was read.
        names: As somebody wrote them; none leave the attribute away.
        path: Of the file, for an error.

    Raises:
        SourceError: They are no names of this program's styles.
    """
    try:
        check_program_styles(program, names)
    except UsageError as error:
        raise SourceError(
            f"{path.name}: {error.message}", where=str(path), remedy=f"save it again: {_REMEDY}"
        ) from error
    module = program.module()
    if names:
        # A module's own way to set an attribute is typed for tensors and modules alone.
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
    # Of the free sizes only a batch may be one; with others it is a picture.
    if not all(isinstance(size, int) for size in rest):
        return False
    sizes = [batch if isinstance(batch, int) else 1, *rest]
    return math.prod(sizes) == max(sizes) == count
