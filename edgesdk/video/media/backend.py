"""PyAV, imported when it is needed."""

from __future__ import annotations

from types import ModuleType

from edgesdk.errors import MissingBackendError

__all__ = ["pyav"]


def pyav() -> ModuleType:
    """The package ``av``, whose libraries keep what they have to say to themselves.

    Raises:
        MissingBackendError: It is not installed.
    """
    try:
        import av
        import av.logging
    except ImportError as error:
        raise MissingBackendError("av", "video") from error
    # Every damaged packet would write lines of its own to stderr, into the progress bar.
    av.logging.set_level(None)
    return av
