"""Check where a pruned model is to be written, before torch is loaded and the model pruned."""

from __future__ import annotations

from pathlib import Path

from edgesdk.errors import OutputExistsError, UsageError

__all__ = ["check_output"]


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that a pruned model can be written to ``path``.

    Raises:
        UsageError: The name does not end in ``.edgemodel``.
        OutputExistsError: The path exists and ``overwrite`` is False.
    """
    if path.suffix != ".edgemodel":
        raise UsageError(f"cannot write {path.name!r}", remedy="name it NAME.edgemodel")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists", remedy="choose another name or --overwrite")
