"""Import PyAV on first use."""

from __future__ import annotations

from types import ModuleType

from edgesdk.errors import MissingBackendError

__all__ = ["pyav"]


def pyav() -> ModuleType:
    """Return the package ``av``, with the log of its libraries silenced.

    Raises:
        MissingBackendError: PyAV is not installed.
    """
    try:
        import av
        import av.logging
    except ImportError as error:
        raise MissingBackendError("av", "video") from error
    # Otherwise every damaged packet writes lines to stderr, into the progress bar.
    av.logging.set_level(None)
    return av
