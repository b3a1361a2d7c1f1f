"""Parts that the verbs of training share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.cli.console import Output
from edgesdk.cli.interruption import GracefulStop, Interruption

if TYPE_CHECKING:
    from edgesdk.training import History
    from edgesdk.training.style.history import StyleHistory

__all__ = ["require_finished", "settings_with"]


def settings_with(settings: Sequence[str] | None, **options: int | None) -> list[str]:
    """Return the texts of ``--set``, then those of options that stand for a setting."""
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    return [*(settings or ()), *given]


def require_finished(
    out: Output, stop: GracefulStop, history: History | StyleHistory, checkpoint: Path | None
) -> None:
    """Raise an :class:`Interruption` if a signal ended the training before its last step."""
    if stop.number is not None and not history.finished:
        steps = history.steps
        out.remark(f"stopped after step {steps}; the same command goes on from {checkpoint}")
        raise Interruption(stop.number)
