"""Examine this machine with progress, as ``edgesdk doctor`` does."""

from __future__ import annotations

from collections.abc import Callable

from edgesdk.errors import UsageError
from edgesdk.host.environment.examination import examine
from edgesdk.host.environment.findings import Examination
from edgesdk.host.progress import AUTO, Auto, progress_shown

__all__ = ["doctor"]


@progress_shown("doctor", lambda display: display.begin)
def doctor(
    *,
    quick: bool = False,
    timeout: float = 180.0,
    on_progress: Callable[[str], None] | Auto | None = AUTO,
) -> Examination:
    """Check what this machine can convert and run.

        examination = edgesdk.doctor(quick=True)
        print([finding.text for finding in examination.findings if finding.level == "error"])

    Args:
        quick: True to import no backend and start no program, which takes below a second.
        timeout: Largest time for importing one backend, in seconds.
        on_progress: Called with each step; ``auto`` and None as in :func:`edgesdk.export`.

    Raises:
        UsageError: ``timeout`` is not above 0.
    """
    if not timeout > 0:
        raise UsageError(f"timeout is {timeout}", remedy="give a number of seconds above 0")
    report = on_progress if callable(on_progress) else None
    return examine(quick, import_seconds=timeout, on_progress=report)
